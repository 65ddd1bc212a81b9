"""A service is set to another kind while sagas are under way: both the kind of then and that of now count."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import pytest

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.core.inputs import Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.testing.story import BARE, FULL, Story, given
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.sagas.stories import AUTHORIZED, CANCELLED, CARD, OPENED, PLACED, RELEASED, TIMER_CANCELLED, order

Kinds = Mapping[Participant, Kind]
MADE_TWICE = pytest.mark.parametrize("steps_done", [0, 2, 3])
"""Creating the order, the hold, opening the order: what a bare service does again when it is asked again."""
EITHER_WAY = pytest.mark.parametrize(("before", "after"), [(FULL, BARE), (BARE, FULL)], ids=["bare now", "full now"])


def asked(steps_done: int, kinds: Kinds) -> Story:
    """One command is out, and all before it were looked at."""
    story = order(steps_done, kinds=kinds)
    story.sent.clear()
    return story


def in_doubt(story: Story) -> None:
    """It was asked for once, and is not asked for again."""
    record = story.saga.steps[story.saga.step or ""]
    assert record.attempts == 1
    assert record.became in (Became.IN_DOUBT, Became.SETTLED)
    assert (story.saga.status is Status.STARTED, story.saga.reason) == (False, Reason.STEP_TIMED_OUT)
    story.sent[:] = [send for send in story.sent if not isinstance(send.body, m.CancelOrder)]
    story.expect_nothing()


# --- full, and bare since --------------------------------------------------------------------------


@MADE_TWICE
def test_what_waits_to_be_asked_again_is_not_asked_of_a_service_that_is_bare_by_then(steps_done: int) -> None:
    story = asked(steps_done, FULL).silence()
    assert story.saga.outstanding and story.saga.outstanding.backing_off
    in_doubt(story.kinds_are(BARE).silence())


@MADE_TWICE
@pytest.mark.parametrize("backing_off", [False, True])
def test_an_operator_does_not_ask_a_service_again_that_is_bare_by_then(steps_done: int, backing_off: bool) -> None:
    story = asked(steps_done, FULL)
    if backing_off:
        story.silence()
    story.kinds_are(BARE).retry().expect_verdict(Verdict.REFUSED).expect_nothing()
    assert story.last.why == "it may be done twice"


def test_a_hold_that_was_asked_of_a_full_service_and_cannot_be_named_to_a_bare_one_is_for_a_person() -> None:
    story = asked(2, FULL).silence().kinds_are(BARE).silence().expect(m.CancelOrder, to=Participant.ORDER)
    story.hear(CANCELLED).ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)
    story.hear(AUTHORIZED).expect(m.RevertPayment, to=Participant.PAYMENT).hear(RELEASED)
    story.ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)


# --- bare, and full since --------------------------------------------------------------------------


@MADE_TWICE
def test_what_was_asked_of_a_bare_service_is_asked_once_though_it_is_full_by_now(steps_done: int) -> None:
    """It kept no `message_id` then, so it recognises no repeat of it now."""
    in_doubt(asked(steps_done, BARE).kinds_are(FULL).silence())


@MADE_TWICE
def test_an_operator_does_not_ask_again_what_was_asked_of_a_bare_service(steps_done: int) -> None:
    story = asked(steps_done, BARE).kinds_are(FULL).retry().expect_verdict(Verdict.REFUSED).expect_nothing()
    assert story.last.why == "it may be done twice"


def test_a_hold_that_was_asked_of_a_bare_service_is_not_undone_without_its_id() -> None:
    """It would remember an undo of a command that it does not know any more, and the hold would stay."""
    story = asked(2, BARE).cancel().expect(m.CancelOrder, to=Participant.ORDER).kinds_are(FULL).reply(CANCELLED)
    story.expect_nothing().waits(Status.CANCELLING)
    assert story.saga.command_due_at == story.saga.steps["AUTHORIZE_PAYMENT"].answer_due_at
    story.silence().step("AUTHORIZE_PAYMENT", Became.SETTLED)
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST, attention=True)
    story.hear(AUTHORIZED)
    story.expect(m.RevertPayment(payment_id="p-1", order_id="o-1", reason="CUSTOMER_REQUEST"), to=Participant.PAYMENT)
    story.reply(RELEASED).ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST, attention=True)


def test_an_order_that_was_asked_of_a_bare_service_is_not_cancelled_without_its_id() -> None:
    story = asked(0, BARE).kinds_are(FULL).silence().expect_nothing()
    story.ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)


def test_what_was_asked_of_a_bare_service_and_again_of_a_full_one_may_have_been_done_by_the_bare_one() -> None:
    first, *others = CREATE_ORDER.steps
    may_be_repeated = replace(CREATE_ORDER, steps=(replace(first, harmless_to_repeat=True), *others))
    story = given(may_be_repeated, PLACED, kinds=BARE).kinds_are(FULL)
    for _ in range(3):
        story.expect(m.CreateOrder, to=Participant.ORDER).silence().expect_nothing()
        if story.saga.outstanding:
            story.silence()
    story.ends(Status.COMPENSATED, reason=Reason.STEP_TIMED_OUT, attention=True)


def test_the_next_step_is_asked_as_the_service_is_now() -> None:
    story = asked(1, BARE).kinds_are(FULL).hear(CARD).silence().silence()
    story.expect(m.AuthorizePayment, to=Participant.PAYMENT).expect(m.AuthorizePayment, to=Participant.PAYMENT)
    story.cancel().expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.expect(m.RevertPayment(order_id="o-1", reason="CUSTOMER_REQUEST"), to=Participant.PAYMENT)


# --- what may be repeated, whoever is asked -------------------------------------------------------------


@EITHER_WAY
def test_a_read_is_repeated(before: Kinds, after: Kinds) -> None:
    for backing_off in (False, True):
        story = asked(1, before)
        story = story.silence().kinds_are(after) if backing_off else story.kinds_are(after).silence()
        story.silence().expect(m.GetPaymentInfo, to=Participant.USER)
        asked(1, before).kinds_are(after).retry().expect(m.GetPaymentInfo, to=Participant.USER)


@EITHER_WAY
def test_an_undo_that_names_what_it_undoes_is_repeated(before: Kinds, after: Kinds) -> None:
    story = asked(5, before).cancel().expect(m.CancelOrder, to=Participant.ORDER).kinds_are(after).silence().silence()
    story.expect(m.CancelOrder, to=Participant.ORDER).reply(CANCELLED)
    story.expect(m.RevertPayment, to=Participant.PAYMENT).silence().kinds_are(before).silence()
    story.expect(m.RevertPayment, to=Participant.PAYMENT).reply(RELEASED)
    story.expect(m.CancelTimer, to=Participant.TIMER).reply(TIMER_CANCELLED)
    story.ends(Status.CANCELLED, reason=Reason.CUSTOMER_REQUEST)


# --- how it is remembered ------------------------------------------------------------------------------


def test_that_a_service_was_bare_is_kept_only_while_it_matters() -> None:
    """The states of full services, and of steps that are done, grow by nothing."""
    for steps_done in range(6):
        assert b"asked_bare" not in msgspec.json.encode(order(steps_done).saga)
    story = order(3, kinds=BARE)
    waiting = {name for name, step in story.saga.steps.items() if step.asked_bare}
    assert waiting == {"UPDATE_ORDER_STATUS"}
    assert b"asked_bare" not in msgspec.json.encode(story.hear(OPENED).saga.steps["UPDATE_ORDER_STATUS"])


def test_a_state_that_does_not_say_is_read_as_if_the_service_had_always_been_what_it_is() -> None:
    """As the version did that wrote it."""
    story = asked(2, BARE)
    written = msgspec.json.decode(msgspec.json.encode(story.saga))
    assert written["steps"]["AUTHORIZE_PAYMENT"].pop("asked_bare")
    read = msgspec.convert(written, type(story.saga)[story.definition.data])  # type: ignore[index]
    story.last = msgspec.structs.replace(story.last, instance=read)
    story.kinds_are(FULL).silence().silence().expect(m.AuthorizePayment, to=Participant.PAYMENT)
