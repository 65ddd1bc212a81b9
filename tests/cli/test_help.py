"""What `--help` promises of every command: what it is for, an example of it, each option, its exit codes."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from ordersaga.cli import app
from ordersaga.cli_errors import EXIT_CODES
from tests.house_rules import ROOT

Path = tuple[str, ...]


def leaves(command: Any, path: Path = ("ordersaga",)) -> Iterator[tuple[Path, Any]]:
    for name, one in getattr(command, "commands", {}).items():
        yield from leaves(one, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


COMMANDS = dict(leaves(typer.main.get_command(app)))
EVERY = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def help_of(path: Path) -> str:
    command = COMMANDS[path]
    context = typer.Context(command, info_name=" ".join(path), terminal_width=100)
    return " ".join(str(command.get_help(context)).split())


@EVERY
def test_it_says_what_it_is_for_and_shows_an_example_of_itself(path: Path) -> None:
    told = help_of(path)
    assert re.search(rf"Example: .*{' '.join(path)}\b", told), told
    assert told.index("Example:") - told.index("[OPTIONS]") > 30, "a sentence before the example"


@EVERY
def test_it_says_of_each_option_what_it_does(path: Path) -> None:
    silent = [one.name for one in COMMANDS[path].params if not getattr(one, "help", None)]
    assert silent == []


@EVERY
def test_it_says_its_exit_codes(path: Path) -> None:
    assert " ".join(EXIT_CODES.split()) in help_of(path)


@EVERY
def test_an_exit_code_with_a_meaning_of_its_own_is_in_its_help_and_on_the_page(path: Path) -> None:
    page = (ROOT / "docs" / "running.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \| .* \|$", page[page.index("| exit code 1 |") :].split("\n\n")[0], re.MULTILINE)
    listed = {name for row in rows for name in _spelt_out(row)}
    own = "Exit code" in (COMMANDS[path].help or "")
    assert (" ".join(path[1:]) in listed) == own
    if "typer.Exit" in inspect.getsource(COMMANDS[path].callback):
        assert own, "it ends with a code of its own and does not say so"


def _spelt_out(row: str) -> Iterator[str]:
    """`sagas show`, `watch`: the second is of the same group."""
    group = ""
    for name in re.findall(r"`(.+?)`", row):
        if " " in name or ("ordersaga", name) in COMMANDS:
            group = name.rpartition(" ")[0]
            yield name
        else:
            yield f"{group} {name}"
