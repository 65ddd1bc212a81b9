"""How long a step took is told from its first command on, however often it was asked again."""

import msgspec

from ordersaga.orchestrator.core.facts import Ended, Fact, Repeated, StepEnded, facts_of
from ordersaga.orchestrator.core.instance import Direction, Status
from ordersaga.testing.story import Story
from ordersaga.wire import messages as m
from tests.sagas.stories import CANCELLED, CARD, CREATED, RELEASED, TIMER, order


def told(story: Story, event: str, *happened: object) -> list[tuple[Fact, float]]:
    """The facts of what happens next in a story, and the seconds that each took."""
    before = story.saga
    getattr(story, event)(*happened)
    return [
        (one, took)
        for one, took in facts_of(story.definition, before, story.saga)
        if isinstance(one, StepEnded | Repeated)
    ]


def test_a_step_that_was_silent_first_took_as_long_as_it_was_waited_for() -> None:
    story = order(1)
    began = story.now
    step = story.definition.step("GET_USER_DATA")
    story.silence()
    assert told(story, "silence") == [(Repeated("create_order", "GET_USER_DATA", Direction.DO), 0.0)]
    story.silence().silence()
    story.after(0.2)
    ((ended, seconds),) = told(story, "reply", CARD)
    assert isinstance(ended, StepEnded)
    assert seconds == (story.now - began).total_seconds() > 2 * step.patience.timeout_seconds


def test_the_next_step_is_told_from_its_own_command_on() -> None:
    story = order(0)
    story.silence().silence().reply(CREATED)
    story.after(0.2)
    ((ended, seconds),) = told(story, "reply", CARD)
    assert isinstance(ended, StepEnded) and (ended.step, seconds) == ("GET_USER_DATA", 0.2)


def test_a_step_that_an_operator_asked_for_anew_began_with_its_first_command() -> None:
    story = order(1).silence()
    began = story.saga.outstanding
    assert began is not None
    story.retry().after(0.2)
    ((ended, seconds),) = told(story, "reply", CARD)
    assert isinstance(ended, StepEnded)
    assert seconds == (story.now - began.sent_at).total_seconds() > 1


def test_an_undo_that_was_silent_first_took_as_long_as_it_was_waited_for() -> None:
    story = order(1).cancel()
    assert story.saga.status is Status.CANCELLING
    began = story.now
    story.silence().silence().after(0.2)
    ((ended, seconds),) = told(story, "reply", CANCELLED)
    assert isinstance(ended, StepEnded) and ended.direction is Direction.UNDO
    assert seconds == (story.now - began).total_seconds() > 1


def test_a_command_that_was_sent_once_has_one_time_only() -> None:
    """As everything had that an earlier version wrote: its states are read, and grow by nothing."""
    once, again = order(1).saga.outstanding, order(1).silence().silence().saga.outstanding
    assert once and again
    assert once.first_sent_at is None and again.first_sent_at == once.sent_at < again.sent_at
    assert b"first_sent_at" not in msgspec.json.encode(once)


# --- how a saga ended --------------------------------------------------------------------------------------

TOO_LATE = m.OrderCancellationFailed(error="ORDER_ACCEPTED", order_id="o-1", status="ACCEPTED")


def outcomes(story: Story, event: str, *happened: object) -> list[Status]:
    before = story.saga
    getattr(story, event)(*happened)
    return [one.outcome for one, _ in facts_of(story.definition, before, story.saga) if isinstance(one, Ended)]


def test_an_order_whose_cancel_comes_too_late_is_completed_once() -> None:
    story = order(4)
    assert outcomes(story, "reply", TIMER) == [Status.COMPLETED]
    assert outcomes(story, "nobody_accepts") == []
    assert outcomes(story, "reply", TOO_LATE) == []
    assert story.saga.status is Status.COMPLETED


def test_an_order_that_is_found_accepted_before_it_was_completed_is_completed_then() -> None:
    story = order(3)
    assert outcomes(story, "cancel") == []
    assert outcomes(story, "reply", TOO_LATE) == [Status.COMPLETED]


def test_an_order_that_was_completed_and_is_cancelled_later_has_both_outcomes() -> None:
    story = order(4)
    assert outcomes(story, "reply", TIMER) == [Status.COMPLETED]
    story.nobody_accepts().reply(CANCELLED)
    assert outcomes(story, "reply", RELEASED) == [Status.CANCELLED]
