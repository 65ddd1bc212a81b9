"""Types what a page shows, from its first command to its last, and compares what comes.

A page's commands are one session: what one sets or starts, the next one finds. The ports that pages name (8080,
8090 and those above it) stand for free ones of this machine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ordersaga.local.ports import free_ports, release_ports
from tests.docs.expecting import Ids
from tests.docs.pages import Block, Typed, blocks
from tests.docs.terminal import Terminal
from tests.house_rules import ROOT, Page

LINKED = (
    ".venv",
    "Makefile",
    "constraints.txt",
    "pyproject.toml",
    "src",
    "tests",
    "bench",
    "simulation",
    "tools",
    "docs",
    "deploy",
)
"""What of the project a fresh directory has, as if one stood in a clone."""


@dataclass
class Ports:
    """Those of this run, by those that pages name."""

    of: dict[str, str] = field(default_factory=dict)

    @classmethod
    def free(cls) -> "Ports":
        names = ("8080", "8090", "8091", "8092", "8093", "8094", "8095")
        return cls(dict(zip(names, map(str, sorted(free_ports(len(names)))), strict=True)))

    def typed(self, text: str) -> str:
        for name, port in self.of.items():
            text = text.replace(name, port)
        return text

    def shown(self, text: str) -> str:
        for name, port in self.of.items():
            text = text.replace(port, name)
        return text

    def settings(self) -> Mapping[str, str]:
        return {"ORDERSAGA_HTTP_PORT": self.of["8080"], "ORDERSAGA_PARTICIPANTS_HTTP_PORT": self.of["8090"]}

    def release(self) -> None:
        release_ports(map(int, self.of.values()))


@dataclass(frozen=True, kw_only=True)
class Played:
    """One command: what came of it, with the ports and ids as the page has them where it can."""

    typed: Typed
    came: str
    code: int
    fits: bool

    @property
    def complaint(self) -> str:
        if self.fits and self.code == 0:
            return ""
        what = f"line {self.typed.line}: $ {self.typed.text}\n"
        if self.code:
            what += f"exit code {self.code}; "
        return f"{what}the page shows:\n{self.typed.shown}\nand it said:\n{self.came}\n"


def runnable(page: Page) -> list[Block]:
    return [block for block in blocks(page) if block.language == "console" and block.not_run is None]


def play(page: Page, directory: Path, environment: Mapping[str, str], ports: Ports) -> Iterator[Played]:
    """Each command of the page, in a directory that has the project's files and nothing else."""
    for name in LINKED:
        (directory / name).symlink_to(ROOT / name)
    ids = Ids()
    with Terminal(directory, environment) as terminal:
        for typed in (typed for block in runnable(page) for typed in block.typed):
            try:
                came, code = terminal.run(ports.typed(ids.typed(typed.text)))
            except TimeoutError as error:
                yield Played(typed=typed, came=str(error), code=-1, fits=False)
                return
            fits = ids.fits(typed.shown, ports.shown(came))
            yield Played(typed=typed, came=ids.shown(ports.shown(came)), code=code, fits=fits)
