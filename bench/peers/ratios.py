"""What is measured of the peers, and how ours stands beside each."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
"""One measurement: `peer`, `in_flight`, `turn` (its place among those of the same level) and the figures."""
OURS, OURS_TOO = "ordersaga", 512
"""Also measured with so many in flight."""
_FIGURES = ("per_second", "p50_ms", "p99_ms", "all_cpu_ms")
MADE_OF: Mapping[str, str] = {
    "dbos": "one process, so one interpreter, and a database; each step is a function called in that process",
    "restate": "a server and a process of handlers; each step is a call of a second service there, through the server",
    "restate-runs": "the same two; each step is a `ctx.run` in the handler itself: nobody else is asked, as with DBOS",
    "temporal": "a server, a database and a process that starts and works; each step is an activity",
    OURS: "two processes, so two interpreters, and one more for the participants; a broker and a database;"
    " each step is a command to the participants and their answer, both through the broker",
}
"""What runs, and what a step is, of each: no two are alike, and their rates are to be read with that."""


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each peer and level: the mean of its turns."""
    lines = ["| | in flight | a second | p50 ms | p99 ms | CPU ms each, all processes |", "|---|---|---|---|---|---|"]
    for peer, level in dict.fromkeys((row["peer"], row["in_flight"]) for row in rows):
        its = [row for row in rows if (row["peer"], row["in_flight"]) == (peer, level)]
        per_second, p50, p99, cpu = (statistics.fmean(row[figure] for row in its) for figure in _FIGURES)
        lines.append(f"| {peer} | {level} | {per_second:.0f} | {p50:.0f} | {p99:.0f} | {cpu:.1f} |")
    return lines


def legend(rows: Sequence[Row]) -> list[str]:
    """What the names in the table stand for, of those that are in it."""
    return [f"* {peer}: {MADE_OF[peer]}" for peer in MADE_OF if any(row["peer"] == peer for row in rows)]


def ratios(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """How many times as many a second ours are, of each of the others, at each level: of ours the mean of the turns
    right before and right after it, so that what the machine does to one of them it does to the other.
    """
    ours = {(row["in_flight"], row["turn"]): row["per_second"] for row in rows if row["peer"] == OURS}
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        level, turn = row["in_flight"], row["turn"]
        beside = [ours[level, near] for near in (turn - 1, turn + 1) if (level, near) in ours]
        if row["peer"] != OURS and beside:
            found.setdefault(row["peer"], {})[level] = round(statistics.fmean(beside) / row["per_second"], 1)
    return found


def ratios_table(found: Mapping[str, Mapping[int, float]]) -> list[str]:
    levels = sorted({level for one in found.values() for level in one})
    head = ["| ordersaga's rate beside | " + " | ".join(map(str, levels)) + " |", "|---" * (len(levels) + 1) + "|"]
    times = {name: [f"{one[level]:g} times" if level in one else "" for level in levels] for name, one in found.items()}
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in times.items()]


def wanted(levels: Sequence[int], names: Sequence[str], known: Sequence[Row]) -> list[tuple[str, int, int]]:
    """What is still to be measured, as peer, level and turn: level by level, and ours before and after each other."""
    have = {(row["peer"], row["in_flight"], row["turn"]) for row in known}
    turns = [name for name in names if name != OURS]
    if OURS in names:
        turns = [OURS, *(one for name in turns for one in (name, OURS))]
    plan = [(name, level, turn) for level in levels for turn, name in enumerate(turns)]
    if OURS in names and OURS_TOO not in levels:
        plan.append((OURS, OURS_TOO, 0))
    return [one for one in plan if one not in have]
