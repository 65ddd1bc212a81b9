"""What a definition with a point of no return has to keep to."""

from dataclasses import replace

import pytest
from msgspec import to_builtins

from ordersaga.orchestrator.core.definition import Definition, DefinitionError, Kind, Step
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER, PATIENT, UNDO_DELIVERY
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.testing.story import given
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.sagas.stories import CANCELLED, CARD, CREATED, PLACED

MARK, CAPTURE, PAY, COMPLETE = COMPLETE_ORDER.steps


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"steps": (MARK, CAPTURE, replace(PAY, point_of_no_return=True))},
            "only one step can be the point of no return",
        ),
        ({"steps": (MARK, replace(CAPTURE, undo=UNDO_DELIVERY, effect_ids=("order_id",)))}, "give it no undo"),
        ({"steps": (MARK, CAPTURE, replace(PAY, undo=UNDO_DELIVERY, effect_ids=("order_id",)))}, "give it no undo"),
        ({"steps": (MARK, replace(CAPTURE, optional=True))}, "cannot be optional"),
        ({"steps": (MARK, CAPTURE, replace(PAY, optional=True))}, "cannot be optional"),
        ({"steps": (replace(MARK, opens_window=True), CAPTURE)}, "exclude each other"),
        ({"steps": (MARK, CAPTURE, replace(PAY, patience=replace(PATIENT, attempts_max=1)))}, "at least two attempts"),
        ({"kinds": {}}, "CAPTURE_PAYMENT: .* it takes one that is full"),
        ({"steps": (MARK, replace(CAPTURE, harmless_to_repeat=True), PAY), "kinds": {}}, "PAY_RUNNER"),
        ({"steps": (replace(MARK, undo=None), CAPTURE)}, "MARK_DELIVERED: give an undo"),
    ],
)
def test_a_definition_that_could_not_be_ended_is_refused(change: dict[str, object], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        replace(COMPLETE_ORDER, **change)  # type: ignore[arg-type]


def test_what_is_harmless_to_repeat_may_be_asked_of_a_bare_participant_after_it() -> None:
    mixed = replace(COMPLETE_ORDER, kinds={Participant.PAYMENT: Kind.FULL})
    assert mixed.kind_of(COMPLETE.do) is Kind.BARE


@pytest.mark.parametrize(
    ("step", "until_answered", "until_done"),
    [(MARK, False, False), (CAPTURE, True, False), (PAY, True, True), (COMPLETE, True, True)],
)
def test_each_step_knows_on_which_side_of_it_it_is(step: Step, until_answered: bool, until_done: bool) -> None:
    assert COMPLETE_ORDER.is_asked_until_answered(step) is until_answered
    assert COMPLETE_ORDER.is_asked_until_done(step) is until_done


def test_a_saga_without_one_gives_every_step_up_some_time() -> None:
    plain: Definition = CREATE_ORDER
    assert not any(plain.is_asked_until_answered(step) for step in plain.steps)


def test_where_nobody_has_to_accept_it_a_saga_is_over_once_all_is_done() -> None:
    """It cannot be cancelled a year later, and it is archived."""
    plain = replace(CREATE_ORDER, name="plain", steps=CREATE_ORDER.steps[:2], undo_order=())
    story = given(plain, PLACED).expect(m.CreateOrder, to=Participant.ORDER).reply(CREATED)
    story.expect(m.GetPaymentInfo, to=Participant.USER).reply(CARD)
    assert (story.saga.status, story.saga.closed) == (Status.COMPLETED, True)
    story.cancel().expect_verdict(Verdict.REFUSED).hear(CANCELLED).expect_nothing()
    assert story.saga.status is Status.COMPLETED and story.saga.attention
    assert "committed" in to_builtins(story.saga), "by which the archive finds it"
