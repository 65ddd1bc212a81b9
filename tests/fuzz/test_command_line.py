"""Whatever is typed: an exit code that is documented, and never a traceback."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ordersaga.cli import app
from tests.fuzz.counting import LITTLE, MUCH, tell, tried

STARTS_SOMETHING = {"demo", "local"}
"""Which needs no setting for it."""
WORDS = [
    "--help",
    "--json",
    "--only",
    "payment",
    "0",
    "-1",
    "1e400",
    "nan",
    "--days",
    "\ud800",
    "a b",
    "",
    "--",
    "-",
    "é",
]
PLATFORM = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")


def _commands(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], list[str]]:
    """Each command with its options' names."""
    if subs := getattr(command, "commands", None):
        found = [_commands(sub, (*path, name)) for name, sub in subs.items() if name not in STARTS_SOMETHING]
        return {key: value for one in found for key, value in one.items()}
    return {path: [option for one in command.params for option in one.opts if option not in ("--kafka", "--env-file")]}


COMMANDS = _commands(typer.main.get_command(app))
TYPED = st.sampled_from(sorted(COMMANDS)).flatmap(
    lambda command: st.lists(st.sampled_from([*COMMANDS[command], *WORDS]) | st.text(max_size=12), max_size=5).map(
        lambda typed: [*command, *typed]
    )
)


@pytest.mark.parametrize("cases", [LITTLE // 2, pytest.param(MUCH, marks=pytest.mark.slow)])
def test_whatever_is_typed_ends_with_a_documented_code(
    cases: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("ORDERSAGA_") or name in PLATFORM]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    seen: Counter[str] = Counter()
    runner = CliRunner()

    @tried(cases)
    @given(typed=TYPED)
    @example(typed=["--help"])
    def ask(typed: list[str]) -> None:
        ended = runner.invoke(app, typed)
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        assert ended.exit_code in (0, 1, 2)
        seen[f"ended with {ended.exit_code}"] += 1

    ask()
    tell("the command line", seen)
    assert seen["ended with 2"] and seen["ended with 0"]
