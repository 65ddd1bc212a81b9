"""Commands as the pages show them: blocks of a terminal, cut into what is typed and what has to come of it.

In a ```console block a line that begins with `$ ` is typed; it goes on over lines that end with a backslash, and to the
end of a here-document. What follows, up to the next one, is its output. A comment before the block says what cannot be
run in a test, and why: `<!-- not run: it needs a container engine -->`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.house_rules import Page

_FENCE = re.compile(r"^(?P<ticks>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=ticks) *$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (?P<why>[^>]+?) -->\s*\Z")
_HERE = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


@dataclass(frozen=True, kw_only=True)
class Typed:
    """One command, and the output that the page shows."""

    text: str
    shown: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Block:
    path: str
    line: int
    """Of the first line inside."""
    language: str
    text: str
    not_run: str | None = None
    typed: tuple[Typed, ...] = field(default=())


def blocks(page: Page) -> Iterator[Block]:
    for found in _FENCE.finditer(page.text):
        line = page.text.count("\n", 0, found.start()) + 2
        mark = _NOT_RUN.search(page.text, 0, found.start())
        language = found["info"].split()[0] if found["info"].split() else ""
        yield Block(
            path=page.path,
            line=line,
            language=language,
            text=found["text"],
            not_run=mark["why"] if mark else None,
            typed=tuple(_typed(found["text"], line)) if language == "console" else (),
        )


def _typed(text: str, first_line: int) -> Iterator[Typed]:
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        begun = number
        if not lines[number].startswith("$ "):
            raise ValueError(f"line {first_line + number}: an output, and no command before it: {lines[number]!r}")
        command, number = _command(lines, number)
        shown = []
        while number < len(lines) and not lines[number].startswith("$ "):
            shown.append(lines[number])
            number += 1
        yield Typed(text=command, shown="\n".join(shown), line=first_line + begun)


def _command(lines: list[str], number: int) -> tuple[str, int]:
    """What is typed from this line on, and the line after it."""
    typed = [lines[number].removeprefix("$ ")]
    number += 1
    while typed[-1].endswith("\\") and number < len(lines):
        typed.append(lines[number])
        number += 1
    if here := _HERE.search(typed[-1]):
        while typed[-1] != here[1] and number < len(lines):
            typed.append(lines[number])
            number += 1
    return "\n".join(typed), number
