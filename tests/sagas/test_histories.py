"""Sagas that were begun by an earlier release go on as they would have there.

Where this fails, a decision has changed. If that is a mistake, mend it. If a saga's steps have changed, give it a new
version beside the old one. If a rule was mended on purpose, `make histories` writes down the new decisions: say in the
change log what will be different for sagas under way.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ordersaga.model.__main__ import definition_of
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.testing import histories
from ordersaga.testing.histories import Line, read, replayed

RECORDED = read(Path(__file__).with_name("histories") / f"{CREATE_ORDER.name}_{CREATE_ORDER.version}.jsonl.gz")


def first_difference(lines: list[Line]) -> tuple[int, Line, Line] | None:
    pairs = enumerate(zip(lines, replayed(lines), strict=True), 1)
    return next(((number, was, now) for number, (was, now) in pairs if was != now), None)


@pytest.mark.parametrize("lines", RECORDED, ids=lambda lines: f"{lines[0].kinds}-{len(lines)}")
def test_a_saga_goes_on_as_it_would_have_before(lines: list[Line]) -> None:
    assert first_difference(lines) is None


def test_the_histories_show_every_status_and_every_input() -> None:
    statuses = {line.changed.get("status") for lines in RECORDED for line in lines} - {None}
    assert statuses == {status.value for status in Status}
    seen = {line.seen.get("input") for lines in RECORDED for line in lines} - {None}
    assert len(seen) == 7, seen


def test_another_decision_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def money_first(kind: Any) -> Any:
        definition = definition_of(kind)
        cancel, revert, timer = definition.undo_order
        return dataclasses.replace(definition, undo_order=(revert, cancel, timer))

    monkeypatch.setattr(histories, "definition_of", money_first)
    assert any(first_difference(lines) for lines in RECORDED)
