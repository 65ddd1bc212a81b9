"""Sagas that were begun by an earlier release go on as they would have there.

Where this fails, a decision has changed. If that is a mistake, mend it. If a saga's steps have changed, give it a new
version beside the old one. If a rule was mended on purpose, `make histories` writes down the new decisions: say in the
change log what will be different for sagas under way.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ordersaga.as_set import sagas_of
from ordersaga.model import complete_order
from ordersaga.model.create_order import definition_of, stage_of
from ordersaga.model.stage import Stage
from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.settings import Settings
from ordersaga.testing.histories import SAGAS, Line, read, replayed
from ordersaga.wire.topics import Participant

FOLDER = Path(__file__).with_name("histories")
RECORDED = {name: read(FOLDER / f"{name}_1.jsonl.gz") for name in SAGAS}
ALL = [
    pytest.param(name, one, id=f"{name}-{one[0].kinds}-{len(one)}") for name, told in RECORDED.items() for one in told
]
INPUTS = {CREATE_ORDER.name: 7, COMPLETE_ORDER.name: 6}
"""Of the kinds of inputs: no window is open in the second saga, and it needs no `WindowDeadline`."""


def first_difference(stage_of: Callable[[Kind], Stage], lines: list[Line]) -> tuple[int, Line, Line] | None:
    pairs = enumerate(zip(lines, replayed(stage_of, lines), strict=True), 1)
    return next(((number, was, now) for number, (was, now) in pairs if was != now), None)


@pytest.mark.parametrize(("saga", "lines"), ALL)
def test_a_saga_goes_on_as_it_would_have_before(saga: str, lines: list[Line]) -> None:
    assert first_difference(SAGAS[saga].stage_of, lines) is None


@pytest.mark.parametrize("saga", list(SAGAS))
def test_the_histories_show_every_status_and_every_input(saga: str) -> None:
    statuses = {line.changed.get("status") for lines in RECORDED[saga] for line in lines} - {None}
    assert statuses == {status.value for status in Status}
    seen = {line.seen.get("input") for lines in RECORDED[saga] for line in lines} - {None}
    assert len(seen) == INPUTS[saga], seen


def test_every_version_of_a_saga_that_is_begun_has_histories() -> None:
    settings: Any = {f"participant_{one.value}": "full" for one in Participant}
    begun = {one.name for one in sagas_of(Settings(database_url=SecretStr("postgresql://nowhere"), **settings))}
    assert begun == set(SAGAS), "SAGAS in testing/histories.py, and a line in the Makefile"
    assert [(one.name, one.version) for one in (CREATE_ORDER, COMPLETE_ORDER)] == [(name, 1) for name in SAGAS]


def test_another_decision_is_noticed() -> None:
    def money_first(kind: Kind) -> Stage:
        definition = definition_of(kind)
        cancel, revert, timer = definition.undo_order
        return stage_of(kind, dataclasses.replace(definition, undo_order=(revert, cancel, timer)))

    assert any(first_difference(money_first, lines) for lines in RECORDED[CREATE_ORDER.name])


def test_another_decision_after_the_point_of_no_return_is_noticed() -> None:
    def gives_up(kind: Kind) -> Stage:
        definition = complete_order.definition_of(kind)
        steps = tuple(
            dataclasses.replace(step, point_of_no_return=False, nothing_to_undo=not step.undo)
            for step in definition.steps
        )
        return complete_order.stage_of(kind, dataclasses.replace(definition, steps=steps))

    assert any(first_difference(gives_up, lines) for lines in RECORDED[COMPLETE_ORDER.name])
