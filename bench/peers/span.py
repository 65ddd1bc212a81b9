"""The measured span of work that is done in a process of its own: what it does to get warm is in no figure."""

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.peers.ratios import Row

WARM = "warm"


def measured_span(argv: Sequence[str], environment: Mapping[str, str], used: Callable[[], float]) -> tuple[Row, float]:
    """The figures that the work prints, and what `used`, the CPU seconds of others so far, has grown by meanwhile.

    The work says `warm` in a line when it is, begins at a line of ours, and prints its figures as a line of JSON. What
    it prints besides is passed over. Raises `RuntimeError` when it ends before.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=dict(environment), stdin=pipe, stdout=pipe, text=True) as work:
        assert work.stdin and work.stdout, "they were asked for"
        try:
            _line(work.stdout, WARM)
            before = used()
            work.stdin.write("\n")
            work.stdin.flush()
            found: Row = json.loads(_line(work.stdout, "{"))
            return found, used() - before
        except EOFError:
            raise RuntimeError(f"{argv[1]} ended with {work.wait()}") from None


def _line(lines: Iterable[str], begins: str) -> str:
    for line in lines:
        if line.startswith(begins):
            return line
    raise EOFError(f"no line begins with {begins}")
