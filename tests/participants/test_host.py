"""A participant on a real database, asked by hand: repeats, crashes, poison, two of it at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from ordersaga.bus.protocol import Record
from ordersaga.delivery.failpoints import FailpointError, armed
from ordersaga.participants.host import AFTER_COMMIT, BEFORE_COMMIT
from ordersaga.participants.ledger_protocol import LedgerUnavailable
from ordersaga.participants.order import service as order
from ordersaga.participants.payment.consult import AFTER_PROVIDER, BEFORE_PROVIDER
from ordersaga.participants.service import Asked, Reply
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from ordersaga.wire.ids import answer_id, message_id
from ordersaga.wire.topics import Participant
from tests.participants.stage import (
    ANOTHER,
    AUTHORIZE,
    BY,
    CANCEL,
    CREATE,
    NOON,
    REVERT,
    SAGA,
    START,
    Hosted,
    authorize,
    command_record,
    create,
    hosted,
    raw,
    saga_id,
    start,
)
from tests.waiting import until

WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
HELD = "select count(*) from sandbox_intents where status = 'HELD'"


# --- repeats --------------------------------------------------------------------------------------


def test_a_repeated_command_is_answered_the_same_and_has_one_effect(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        first = service.ask(CREATE)
        said = service.envelopes()
        assert service.ask(CREATE) == first
        assert service.envelopes() == said, "the same ids, and the time of the first answer"
        assert service.one("select count(*) from rows") == 1


def test_a_command_twice_in_one_batch_has_one_effect(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        first, second = service.ask(AUTHORIZE, AUTHORIZE)
        assert first == second
        assert service.one("select count(*) from sandbox_intents") == 1


def test_without_an_id_a_repeat_is_told_by_its_saga_and_type(database_url: str) -> None:
    value = encode(CREATE, correlation_id=SAGA, timestamp=NOON, source="test")
    with hosted(Participant.ORDER, database_url) as service:
        first = service.deliver([raw(value)])
        said = service.envelopes()
        assert service.deliver([raw(value)]) == first
        assert service.envelopes() == said


def test_without_ids_two_commands_of_one_saga_are_two(database_url: str) -> None:
    records = [raw(encode(one, correlation_id=SAGA, timestamp=NOON, source="test")) for one in (CREATE, CANCEL)]
    with hosted(Participant.ORDER, database_url) as service:
        assert [type(one) for one in service.deliver(records)] == [m.OrderCreated, m.OrderCancelled]


def test_of_two_commands_with_one_id_the_first_stands_and_the_second_is_told_of(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        (first,) = service.ask(CREATE)
        with capture_logs() as logs:
            assert service.ask(CREATE) == [first]
            assert logs == []
            assert service.ask(create(deliveryFee=99)) == [first]
        assert [entry["event"] for entry in logs] == ["participant.id_used_twice"]
        assert service.one("select amount_cents from rows") == 1020


def test_of_two_commands_with_one_id_in_one_batch_the_first_stands_too(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        with capture_logs() as logs:
            first, second = service.ask(CREATE, create(deliveryFee=99))
        assert first == second
        assert [entry["event"] for entry in logs] == ["participant.id_used_twice"]
        assert service.one("select amount_cents from rows") == 1020
        with capture_logs() as logs:
            assert service.ask(CREATE) == [first]
        assert logs == [], "what was remembered is the first one"


def test_an_undone_command_that_comes_again_is_answered_and_not_done(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        first = service.ask(AUTHORIZE)
        service.ask(REVERT)
        assert service.ask(AUTHORIZE) == first
        assert service.one(HELD) == 0


def test_an_answer_says_which_command_it_answers_and_passes_the_trace_on(database_url: str) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with hosted(Participant.ORDER, database_url) as service:
        service.deliver([command_record(CREATE, trace=trace)])
        (envelope,) = service.envelopes()
        asked_id = message_id(SAGA, "create_order", "do")
        assert (envelope.causation_id, envelope.saga_id, envelope.source) == (asked_id, SAGA, "order-service")
        assert envelope.message_id == answer_id("order", asked_id, "order.created")
        headers = dict(service.offered[0].record.headers)
        assert headers["traceparent"] == trace.encode()
        assert headers["ce_id"] == str(envelope.message_id).encode()
        assert service.offered[0].record.key == str(SAGA).encode()


def test_a_refused_undo_is_tried_again_when_it_is_asked_again(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        (created,) = service.ask(CREATE)
        assert isinstance(created, m.OrderCreated)
        service.ask(m.UpdateOrderStatus(order_id=created.order_id, status="CREATED"))
        service.host.act(created.order_id, order.Accept(runner_id="r-1"), BY)
        assert isinstance(service.ask(CANCEL)[0], m.OrderCancellationFailed)
        service.host.act(created.order_id, order.GiveBack(), BY)
        assert isinstance(service.ask(CANCEL)[0], m.OrderCancelled)


# --- what meets in one batch, or under two names --------------------------------------------------


def test_an_undo_before_its_command_in_one_batch_leaves_nothing(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        assert [type(one) for one in service.ask(REVERT, AUTHORIZE)] == [m.PaymentReleased, m.PaymentFailed]
        assert service.one(HELD) == 0


def test_an_undo_after_its_command_in_one_batch_takes_it_back(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        held, released = service.ask(AUTHORIZE, REVERT)
        assert isinstance(held, m.PaymentAuthorized)
        assert isinstance(released, m.PaymentReleased)
        assert service.one("select array_agg(status) from sandbox_intents") == ["RELEASED"]


def test_a_payment_is_found_by_its_id_whoever_asks(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        (held,) = service.ask(AUTHORIZE)
        assert isinstance(held, m.PaymentAuthorized)
        (released,) = service.ask(m.RevertPayment(payment_id=held.payment_id, reason="r"), saga_id=ANOTHER)
        assert isinstance(released, m.PaymentReleased)
        assert service.envelopes()[0].saga_id == ANOTHER, "who asks is answered"
        assert service.one(HELD) == 0


def test_an_order_has_one_payment_whoever_asks(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        asked = [command_record(AUTHORIZE, SAGA), command_record(AUTHORIZE, ANOTHER)]
        assert [type(one) for one in service.deliver(asked)] == [m.PaymentAuthorized, m.PaymentFailed]
        assert service.one(HELD) == 1


def test_an_order_is_cancelled_by_its_id_whoever_asks(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        (created,) = service.ask(CREATE)
        assert isinstance(created, m.OrderCreated)
        service.ask(m.CancelOrder(order_id=created.order_id, reason="r"), saga_id=ANOTHER)
        assert service.one("select array_agg(status) from rows") == ["CANCELLED"]


def test_sixty_sagas_in_one_batch_get_an_answer_each(database_url: str) -> None:
    ids = [saga_id() for _ in range(60)]
    with hosted(Participant.PAYMENT, database_url) as service:
        service.deliver([command_record(authorize(f"o-{one}"), one) for one in ids])
        assert [(one.saga_id, type(one.body)) for one in service.envelopes()] == [
            (one, m.PaymentAuthorized) for one in ids
        ]
        assert service.one(HELD) == 60


# --- crashes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [BEFORE_PROVIDER, AFTER_PROVIDER, BEFORE_COMMIT, AFTER_COMMIT])
def test_a_crash_at_any_place_holds_the_money_once(database_url: str, place: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        with armed(place, "raise"), pytest.raises(FailpointError):
            service.ask(AUTHORIZE)
        (authorized,) = service.ask(AUTHORIZE)
        assert isinstance(authorized, m.PaymentAuthorized)
        assert service.one(HELD) == 1
        assert service.one("select payment_intent_id from rows") == authorized.payment_intent_id


@pytest.mark.parametrize("place", [BEFORE_PROVIDER, AFTER_PROVIDER, BEFORE_COMMIT, AFTER_COMMIT])
def test_a_crash_at_any_place_lets_the_money_go_once(database_url: str, place: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        service.ask(AUTHORIZE)
        with armed(place, "raise"), pytest.raises(FailpointError):
            service.ask(REVERT)
        assert isinstance(service.ask(REVERT)[0], m.PaymentReleased)
        assert service.one("select array_agg(status) from sandbox_intents") == ["RELEASED"]


def test_money_held_by_a_crash_is_let_go_when_the_undo_was_faster(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        with armed(AFTER_PROVIDER, "raise"), pytest.raises(FailpointError):
            service.ask(AUTHORIZE)
        assert isinstance(service.ask(REVERT)[0], m.PaymentReleased)
        assert isinstance(service.ask(AUTHORIZE)[0], m.PaymentFailed)
        assert service.one(HELD) == 0


# --- poison ---------------------------------------------------------------------------------------


def test_poison_is_set_aside_and_holds_up_nobody(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        nul = b'{"type":"create_order","correlation_id":"x","payload":{"customer_id":"\\u0000"}}'
        answers = service.deliver([raw(b"{"), command_record(CREATE), raw(None), raw(nul)])
        assert [type(answer) for answer in answers] == [m.OrderCreated]
        assert service.one("select count(*) from dead_letters") == 3


def test_poison_that_comes_again_is_kept_once(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        record = raw(b"{")
        service.deliver([record])
        service.deliver([record])
        assert service.one("select count(*) from dead_letters") == 1


def test_commands_of_other_flows_are_left_alone(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        foreign = raw(b'{"type": "ship_order", "correlation_id": "s", "payload": {}}')
        assert service.deliver([foreign, command_record(AUTHORIZE)]) == []
        assert service.one("select count(*) from rows") == 0
        assert service.one("select count(*) from dead_letters") == 0


def test_numbers_in_an_order_that_few_can_read_do_not_block_it(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        (created,) = service.ask(create(note=1e300))
        assert isinstance(created, m.OrderCreated)
        assert isinstance(service.ask(CANCEL)[0], m.OrderCancelled)


# --- two at once ----------------------------------------------------------------------------------


def test_two_hosts_of_one_participant_do_a_command_once(database_url: str) -> None:
    ids = [saga_id() for _ in range(10)]
    batch = [command_record(authorize(f"o-{one}"), one) for one in ids]
    with hosted(Participant.PAYMENT, database_url) as first, hosted(Participant.PAYMENT, database_url) as second:
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(_until_done, service, batch) for service in (first, second)]
        assert done[0].result() == done[1].result()
        assert first.one("select count(*) from sandbox_intents") == len(ids)


@contextmanager
def stalled(point: str) -> Iterator[tuple[Event, Event]]:
    """Whoever comes to `point` first waits there: when it has come, and when it may go on."""
    first = iter([True])
    come, go_on = Event(), Event()

    def stall() -> None:
        if next(first, False):
            come.set()
            assert go_on.wait(60)

    with armed(point, stall):
        try:
            yield come, go_on
        finally:
            go_on.set()


def test_an_undo_at_another_host_while_its_command_is_in_the_air_leaves_nothing(database_url: str) -> None:
    """Neither finds a row that it could lock."""
    with hosted(Participant.PAYMENT, database_url) as first, hosted(Participant.PAYMENT, database_url) as second:
        with ThreadPoolExecutor(1) as pool, stalled(AFTER_PROVIDER) as (in_the_air, go_on):
            late = pool.submit(first.ask, AUTHORIZE)
            assert in_the_air.wait(10)
            assert isinstance(second.ask(REVERT)[0], m.PaymentReleased)
            go_on.set()
            with pytest.raises(LedgerUnavailable):
                late.result()
        assert isinstance(first.ask(AUTHORIZE)[0], m.PaymentFailed)
        assert first.one(HELD) == 0


def test_a_host_that_waited_for_another_gives_the_answer_that_the_other_gave(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as first, hosted(Participant.ORDER, database_url) as second:
        first.ask(CREATE)
        with ThreadPoolExecutor(2) as pool, stalled(BEFORE_COMMIT) as (locked, go_on):
            earlier = pool.submit(first.ask, CANCEL)
            assert locked.wait(10)
            later = pool.submit(second.ask, CANCEL)
            until(lambda: bool(first.one(WAITING)), "the second host waits for the lock on the row")
            go_on.set()
            assert earlier.result(10) == later.result(10)
        assert first.envelopes() == second.envelopes(), "the same id and time, at the first attempt"


def test_a_host_that_waits_for_another_in_vain_is_told_to_ask_again(database_url: str) -> None:
    with (
        hosted(Participant.ORDER, database_url) as first,
        hosted(Participant.ORDER, database_url, tables=False, timeout_seconds=0.5) as second,
    ):
        first.ask(CREATE)
        with ThreadPoolExecutor(2) as pool, stalled(BEFORE_COMMIT) as (locked, go_on):
            earlier = pool.submit(first.ask, CANCEL)
            assert locked.wait(10)
            with pytest.raises(LedgerUnavailable):
                pool.submit(second.ask, CANCEL).result(30)
            go_on.set()
            assert isinstance(earlier.result(10)[0], m.OrderCancelled)


def test_ten_hosts_may_start_at_once(database_url: str) -> None:
    def begin(_: int) -> int:
        with hosted(Participant.NOTIFICATION, database_url) as service:
            return int(service.one("select count(*) from rows"))

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(begin, range(10))) == [0] * 10


# --- timers ---------------------------------------------------------------------------------------


def test_a_timer_fires_from_its_row_after_a_restart_too(database_url: str) -> None:
    with hosted(Participant.TIMER, database_url) as service:
        service.ask(START)
    with hosted(Participant.TIMER, database_url) as restarted:
        restarted.host._expire_turn()
        assert [envelope.body for envelope in restarted.envelopes()] == [
            m.TimerExpired(order_id="o-1", timer_id=restarted.one("select timer_id from rows"))
        ]
        restarted.offered.clear()
        restarted.host._expire_turn()
        assert restarted.offered == [], "it fires once"


@pytest.mark.parametrize(("place", "fires_again"), [(BEFORE_COMMIT, 1), (AFTER_COMMIT, 0)])
def test_a_timer_fires_once_whatever_crashes(database_url: str, place: str, fires_again: int) -> None:
    with hosted(Participant.TIMER, database_url) as service:
        service.ask(START)
        with armed(place, "raise"), pytest.raises(FailpointError):
            service.host._expire_turn()
        service.offered.clear()
        service.host._expire_turn()
        assert len(service.offered) == fires_again
        fired = "select count(*) from outbox where headers like '%timer.expired%'::bytea"
        assert service.one(fired) == 1, "once committed, the relay finds it"


def test_a_timer_does_not_fire_before_its_time(database_url: str) -> None:
    with hosted(Participant.TIMER, database_url) as service:
        service.ask(start(timeout_at=datetime.now(UTC) + timedelta(hours=1)))
        service.offered.clear()
        service.host._expire_turn()
        assert service.offered == []


def test_many_that_are_due_at_once_fire_in_bounded_batches_shared_by_two_hosts(database_url: str) -> None:
    with hosted(Participant.TIMER, database_url) as first, hosted(Participant.TIMER, database_url) as second:
        first.deliver([command_record(start(f"o-{number}"), saga_id()) for number in range(450)])
        first.offered.clear()
        with ThreadPoolExecutor(2) as pool:
            for turn in [pool.submit(service.host._expire_turn) for service in (first, second)]:
                turn.result()
        assert max(len(first.offered), len(second.offered)) <= 200
        while first.one("select count(*) from rows where status = 'STARTED'"):
            first.host._expire_turn()
        fired = [one.body for service in (first, second) for one in service.envelopes()]
        assert len({one.order_id for one in fired if isinstance(one, m.TimerExpired)}) == len(fired) == 450


# --- notices --------------------------------------------------------------------------------------


def test_a_notice_is_kept_once_and_found_by_its_customer(database_url: str) -> None:
    def notice(title: str) -> m.OrderConfirmedNotice:
        return m.OrderConfirmedNotice(
            saga_id=str(SAGA),
            customer_id="c4n4ry-1",
            status="COMPLETED",
            title=title,
            explanation="e",
            money="m",
            runner_id="r-1",
        )

    with hosted(Participant.NOTIFICATION, database_url) as service:
        assert service.ask(notice("first")) == service.ask(notice("first")) == []
        service.ask(notice("second"), saga_id=ANOTHER)
        inbox = service.host.inbox("c4n4ry-1")
        assert [(row.title, row.runner_id) for row in inbox] == [("second", "r-1"), ("first", "r-1")], "newest first"
        assert [row.title for row in service.host.inbox("c4n4ry-1", limit=1)] == ["second"]
        assert service.host.inbox("somebody else") == []


def test_a_record_that_the_service_cannot_carry_out_is_refused_as_a_whole(database_url: str) -> None:
    """The consume loop then finds out which it was."""
    with hosted(Participant.ORDER, database_url) as service:
        service.host.spec = replace(service.host.spec, answer=_fails_for(ANOTHER))
        good, bad = command_record(create(SAGA), SAGA), command_record(create(ANOTHER), ANOTHER)
        with pytest.raises(ZeroDivisionError):
            service.deliver([good, bad])
        assert service.one("select count(*) from rows") == 0
        assert isinstance(service.deliver([good])[0], m.OrderCreated)


def _fails_for(saga: UUID) -> Callable[[Any, Asked], Reply]:
    def answer(row: Any, asked: Asked) -> Reply:
        if asked.key == str(saga):
            raise ZeroDivisionError
        return order.answer(row, asked)

    return answer


def _until_done(service: Hosted, batch: list[Record]) -> list[m.Message]:
    """As the consume loop does: whoever met the other asks again."""
    for _ in range(20):
        try:
            return service.deliver(batch)
        except LedgerUnavailable:
            continue
    raise AssertionError("never done")


# --- a provider that does not answer --------------------------------------------------------------


def test_a_provider_that_says_nothing_is_given_up_by_the_undo(database_url: str) -> None:
    silent = authorize(card="pm_card_timeout")
    with hosted(Participant.PAYMENT, database_url) as service:
        assert service.ask(silent) == []
        assert service.ask(silent) == [], "asked again under the same key"
        assert service.one("select count(*) from sandbox_intents") == 1
        assert service.one(HELD) == 1
        (released,) = service.ask(REVERT)
        assert isinstance(released, m.PaymentReleased)
        assert service.one(HELD) == 0
        (refused,) = service.ask(silent)
        assert isinstance(refused, m.PaymentFailed)
        assert service.one(HELD) == 0


def test_a_late_answer_is_had_by_asking_again(database_url: str) -> None:
    late = authorize(card="pm_card_late")
    with hosted(Participant.PAYMENT, database_url) as service:
        assert service.ask(late) == []
        service.clear_age("8 seconds")
        (held,) = service.ask(late)
        assert isinstance(held, m.PaymentAuthorized)
        assert service.ask(late) == [held]
        assert service.one(HELD) == 1


def test_one_card_brings_each_answer_twice(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        first, second = service.ask(authorize(card="pm_card_twice"))
        assert first == second
        assert service.one(HELD) == 1
