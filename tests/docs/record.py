"""`python -m tests.docs.record docs/tutorial.md`: runs a page and writes what came into it.

To be read before it is kept. A command whose shown output fits, or has `...` in it, keeps that output.
"""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from ordersaga.local.postgres import open_postgres
from tests.docs.platform import ALONE, running
from tests.docs.playing import Played, Ports, play
from tests.house_rules import ROOT, Page


def main(path: str) -> None:
    page = Page(path, (ROOT / path).read_text("utf-8"))
    with tempfile.TemporaryDirectory() as directory, ExitStack() as open_parts:
        Path(directory).chmod(0o755)
        place = Path(directory) / "page"
        place.mkdir()
        environment, ports = _place(path, Path(directory), open_parts)
        played = list(play(page, place, environment, ports))
    (ROOT / path).write_text(rewritten(page.text, played), "utf-8")
    sys.stdout.writelines(one.complaint for one in played if one.complaint)


def _place(path: str, directory: Path, open_parts: ExitStack) -> tuple[Mapping[str, str], Ports]:
    if path in ALONE:
        ports = Ports.free()
        return ports.settings(), ports
    postgres = open_postgres()
    open_parts.callback(postgres.stop)
    platform = open_parts.enter_context(running(postgres, directory))
    return platform.environment, platform.ports


def rewritten(text: str, played: list[Played]) -> str:
    lines = text.split("\n")
    for one in reversed(played):
        shown = one.typed.shown.split("\n") if one.typed.shown else []
        if one.fits or "..." in one.typed.shown:
            continue
        begin = one.typed.line - 1 + one.typed.text.count("\n") + 1
        lines[begin : begin + len(shown)] = one.came.rstrip().split("\n") if one.came.strip() else []
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1])
