"""Whatever happens, in whatever order, a decision keeps the rules of the table."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ordersaga.orchestrator.core.advance import TABLE
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.inputs import CancelAsked, CommandDeadline, Happened, Input, Verdict, WindowDeadline
from ordersaga.orchestrator.core.instance import Direction, Instance, Requested, Status
from ordersaga.orchestrator.core.needs import needs
from ordersaga.orchestrator.core.patience import backoff_seconds
from ordersaga.orchestrator.core.reasons import EXPLANATIONS, Reason
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER as _CREATE_ORDER
from ordersaga.testing.story import BARE, FULL, NOON, SAGA_ID
from ordersaga.testing.story import given as story_given
from ordersaga.wire import messages as m
from ordersaga.wire.ids import message_id
from tests.sagas.stories import (
    AUTHORIZED,
    CANCELLED,
    CARD,
    CREATED,
    DECLINED,
    OPENED,
    PLACED,
    RELEASED,
    TIMER,
    TIMER_CANCELLED,
)

EVENTS: tuple[m.Event, ...] = (
    CREATED,
    CARD,
    AUTHORIZED,
    OPENED,
    TIMER,
    DECLINED,
    CANCELLED,
    RELEASED,
    TIMER_CANCELLED,
    m.OrderCreated(order_id="o-2"),
    m.OrderCreationFailed(error="X"),
    m.PaymentInfoFailed(error="Internal server error: x"),
    m.PaymentAuthorized(payment_id="p-1", payment_intent_id="pi_2"),
    m.PaymentAuthorized(payment_id="p-2", payment_intent_id="pi_3"),
    m.OrderStatusUpdated(order_id="o-1", status="CANCELLED"),
    m.OrderStatusUpdateFailed(error="X"),
    m.OrderCancellationFailed(error="ORDER_ACCEPTED", status="ACCEPTED"),
    m.OrderCancellationFailed(error="DATABASE"),
    m.OrderCancelled(order_id="o-1", reason="Already in final state: COMPLETED"),
    m.OrderAccepted(order_id="o-1", runner_id="r-1"),
    m.OrderAcceptanceCancelled(order_id="o-1"),
    m.OrderCancelledByHand(order_id="o-1"),
    m.TimerExpired(order_id="o-1"),
    m.TimerCancellationFailed(error="X"),
    m.PaymentReleased(payment_id="p-1", status="SUCCEEDED"),
    m.OrderStatusUpdated(order_id="o-9", status="CREATED"),
)
CUSTOMER = Requested(actor="c4n4ry-1", role="customer", reason=Reason.CUSTOMER_REQUEST)
MAY_FOLLOW = {
    Status.STARTED: {Status.COMPLETED, Status.COMPENSATING, Status.CANCELLING},
    Status.COMPLETED: {Status.CANCELLING},
    Status.COMPENSATING: {Status.COMPENSATED, Status.FAILED, Status.COMPLETED},
    Status.CANCELLING: {Status.CANCELLED, Status.FAILED, Status.COMPLETED},
    Status.COMPENSATED: {Status.FAILED},
    Status.CANCELLED: {Status.FAILED},
    Status.FAILED: {Status.COMPENSATING, Status.CANCELLING, Status.COMPENSATED, Status.CANCELLED},
}
events = st.builds(
    Happened,
    event=st.sampled_from(EVENTS),
    causation_id=st.one_of(
        st.none(),
        st.builds(
            lambda step, direction, effect: message_id(SAGA_ID, step, direction, effect),
            st.sampled_from(["CREATE_ORDER", "AUTHORIZE_PAYMENT", "UPDATE_ORDER_STATUS", "START_TIMER"]),
            st.sampled_from(list(Direction)),
            st.sampled_from([None, "o-1", "p-1"]),
        ),
    ),
    stamp=st.one_of(st.none(), st.integers(0, 9).map(lambda second: NOON + timedelta(seconds=second))),
)
inputs = st.one_of(
    events, events, st.just(CommandDeadline()), st.just(WindowDeadline()), st.just(CancelAsked(CUSTOMER))
)


@settings(max_examples=300)
@given(st.lists(st.tuples(inputs, st.booleans()), max_size=40), st.sampled_from([FULL, BARE]))
def test_whatever_happens_the_rules_hold(happenings: list[tuple[Input, bool]], kinds: Any) -> None:
    story = story_given(_CREATE_ORDER, PLACED, kinds=kinds)
    definition, record, now = story.definition, story.saga, story.now
    for seen, late in happenings:
        due = record.window_due_at if isinstance(seen, WindowDeadline) else record.command_due_at
        now = max(now, due) if late and due else now
        decision = decide(definition, record, seen, now)
        assert decision == decide(definition, record, seen, now)
        _check_step(definition, record, decision.instance, decision.verdict)
        if decision.verdict is Verdict.APPLIED:
            again = decide(definition, decision.instance, seen, now)
            known = isinstance(seen, Happened) and seen.stamp is not None
            repeated = known and again.verdict is Verdict.APPLIED and again.messages
            assert not repeated, f"{seen} applied twice: {again.rows}"
        record = decision.instance


def _check_step(definition: Any, before: Instance[Any], after: Instance[Any], verdict: Verdict) -> None:
    if verdict is not Verdict.APPLIED:
        assert after is before
        return
    assert after.revision == before.revision + 1
    if after.status is not before.status:
        assert after.status in _reachable(before.status), f"{before.status} -> {after.status}"
    if before.reason and after.reason:
        assert after.reason is before.reason, "the first cause is never overwritten"
    out = after.outstanding
    if out and out.direction is Direction.DO:
        assert after.status is Status.STARTED, "nothing is done while a saga is taken back"
    if out and out.direction is Direction.UNDO and out.step == "AUTHORIZE_PAYMENT":
        assert needs(definition, after)[0].step == "AUTHORIZE_PAYMENT", (
            "the money goes back after the order is cancelled"
        )
    if (
        after.status in (Status.COMPENSATED, Status.CANCELLED)
        and before.status is not after.status
        and not after.attention
    ):
        assert not needs(definition, after)
    waits = after.command_due_at or after.window_due_at
    at_rest = after.status in (Status.FAILED, Status.COMPENSATED, Status.CANCELLED) or after.closed
    assert waits or at_rest, f"{after.status} waits for nothing"


def _reachable(status: Status) -> set[Status]:
    """One input may pass two rows."""
    once = MAY_FOLLOW[status]
    return once.union(*(MAY_FOLLOW[one] for one in once))


def test_a_start_is_a_function_too() -> None:
    assert start(_CREATE_ORDER, SAGA_ID, PLACED, NOON) == start(_CREATE_ORDER, SAGA_ID, PLACED, NOON)


def test_every_reason_can_be_told_to_a_customer() -> None:
    assert set(EXPLANATIONS) == set(Reason)


def test_the_table_stays_a_table() -> None:
    assert len(TABLE) <= 24


def test_the_wait_before_another_try_doubles_up_to_its_cap_and_is_the_same_each_time() -> None:
    waits = [backoff_seconds(SAGA_ID, "S", attempt, 1.0, 60.0) for attempt in range(1, 40)]
    assert waits == [backoff_seconds(SAGA_ID, "S", attempt, 1.0, 60.0) for attempt in range(1, 40)]
    for attempt, wait in enumerate(waits, start=1):
        full = min(60.0, 2.0 ** (attempt - 1))
        assert 0.75 * full <= wait <= full
