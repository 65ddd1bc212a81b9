"""What is measured of the peers, and how ours stands beside each."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
OURS, OURS_TOO = "ordersaga", 512
"""Also measured with so many in flight."""


def table(rows: Sequence[Row]) -> list[str]:
    lines = ["| | in flight | a second | p50 ms | p99 ms | CPU ms each, all processes |", "|---|---|---|---|---|---|"]
    for row in rows:
        figures = f"{row['per_second']:.0f} | {row['p50_ms']:.0f} | {row['p99_ms']:.0f} | {row['all_cpu_ms']:.1f}"
        lines.append(f"| {row['peer']} | {row['in_flight']} | {figures} |")
    return lines


def ratios(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """How many times as many a second ours are, of each of the others, at each level."""
    ours = {row["in_flight"]: row["per_second"] for row in rows if row["peer"] == OURS}
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["peer"] != OURS and row["in_flight"] in ours:
            level = row["in_flight"]
            found.setdefault(row["peer"], {})[level] = round(ours[level] / row["per_second"], 1)
    return found


def ratios_table(found: Mapping[str, Mapping[int, float]]) -> list[str]:
    levels = sorted({level for one in found.values() for level in one})
    head = ["| ordersaga's rate beside | " + " | ".join(map(str, levels)) + " |", "|---" * (len(levels) + 1) + "|"]
    times = {name: [f"{one[level]:g} times" if level in one else "" for level in levels] for name, one in found.items()}
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in times.items()]


def wanted(levels: Sequence[int], names: Sequence[str], known: Sequence[Row]) -> list[tuple[str, int]]:
    """What is still to be measured, level by level, so that a machine that gets slower is so for all."""
    have = {(row["peer"], row["in_flight"]) for row in known}
    pairs = [(name, level) for level in levels for name in names]
    if OURS in names and OURS_TOO not in levels:
        pairs.append((OURS, OURS_TOO))
    return [pair for pair in pairs if pair not in have]
