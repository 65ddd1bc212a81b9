"""A definition is checked when it is built, so a saga that could not be taken back is never started."""

from dataclasses import replace

import pytest

from ordersaga.orchestrator.core.definition import Definition, DefinitionError, Kind, Patience
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER

FIRST, SECOND = CREATE_ORDER.steps[:2]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"steps": ()}, "at least one step"),
        ({"steps": (FIRST, replace(SECOND, name=FIRST.name)), "undo_order": ()}, "one name"),
        ({"steps": (FIRST, replace(FIRST, name="AGAIN")), "undo_order": ()}, "one command"),
        ({"steps": (replace(FIRST, undo=None),), "undo_order": ()}, "nothing_to_undo"),
        ({"steps": (replace(FIRST, nothing_to_undo=True),), "undo_order": ()}, "nothing_to_undo"),
        ({"steps": (replace(FIRST, effect_ids=()),), "undo_order": ()}, "effect_ids"),
        ({"steps": (replace(FIRST, effect_ids=("order_id", "shoe_size")),), "undo_order": ()}, "shoe_size"),
        ({"undo_order": CREATE_ORDER.undo_order[:2]}, "undo_order"),
        ({"steps": tuple(replace(step, opens_window=True) for step in CREATE_ORDER.steps)}, "window"),
        ({"steps": tuple(replace(s, opens_window=s in CREATE_ORDER.steps[:2]) for s in CREATE_ORDER.steps)}, "window"),
        ({"undo_order": (), "steps": (SECOND,)}, "unasked_is_request"),
        ({"version": 0}, "positive"),
        ({"window_seconds": 0}, "positive"),
        ({"steps": (FIRST, replace(SECOND, effect_ids=("shoe_size",)))}, "create_order.GET_USER_DATA"),
        (
            {"steps": (replace(SECOND, patience=Patience(timeout_seconds=0, attempts_max=1)),), "undo_order": ()},
            "timeout",
        ),
    ],
)
def test_a_definition_that_cannot_work_is_refused(change: dict[str, object], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        replace(CREATE_ORDER, **change)  # type: ignore[arg-type]


def test_the_steps_follow_each_other_in_business_order() -> None:
    names = [step.name for step in CREATE_ORDER.steps]
    assert [step.name if (step := CREATE_ORDER.step_after(name)) else None for name in [None, *names]] == [*names, None]


def test_without_an_order_of_its_own_a_saga_is_undone_in_the_order_of_its_steps_undos() -> None:
    plain: Definition = replace(CREATE_ORDER, undo_order=())
    assert [undo.name for undo in plain.undos()] == ["cancel_order", "revert_payment", "cancel_timer"]


def test_a_participant_of_which_nothing_is_said_is_bare() -> None:
    assert replace(CREATE_ORDER, kinds={}).kind_of(FIRST.do) is Kind.BARE


def test_the_shortest_window_is_one_that_is_open_at_all() -> None:
    assert replace(CREATE_ORDER, window_seconds=0.5).window_seconds == 0.5
