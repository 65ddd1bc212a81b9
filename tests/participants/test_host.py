"""A participant on a real database: repeats, crashes, poison, two of it at once."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from ordersaga.bus.protocol import Record
from ordersaga.delivery.failpoints import FailpointError, armed
from ordersaga.participants.host import AFTER_COMMIT, BEFORE_COMMIT
from ordersaga.participants.ledger import LedgerUnavailable
from ordersaga.participants.order import service as order
from ordersaga.participants.payment.consult import AFTER_PROVIDER
from ordersaga.wire import messages as m
from ordersaga.wire.ids import message_id, uuid7
from ordersaga.wire.topics import Participant
from tests.participants.stage import AUTHORIZE, CANCEL, CREATE, REVERT, SAGA, START, Hosted, command_record, hosted, raw


def saga_id() -> UUID:
    return uuid7(1_800_000_000_000, uuid4().bytes)


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


def test_an_answer_says_which_command_it_answers_and_passes_the_trace_on(database_url: str) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with hosted(Participant.ORDER, database_url) as service:
        service.deliver([command_record(CREATE, trace=trace)])
        (envelope,) = service.envelopes()
        assert envelope.causation_id == message_id(SAGA, "create_order", "do")
        assert envelope.saga_id == SAGA
        assert dict(service.offered[0].headers)["traceparent"] == trace.encode()
        assert service.offered[0].key == str(SAGA).encode()


def test_a_refused_undo_is_tried_again_when_it_is_asked_again(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        (created,) = service.ask(CREATE)
        assert isinstance(created, m.OrderCreated)
        service.ask(m.UpdateOrderStatus(order_id=created.order_id, status="CREATED"))
        service.host.act(created.order_id, lambda row: order.accept(row, "r-1"))
        assert isinstance(service.ask(CANCEL)[0], m.OrderCancellationFailed)
        service.host.act(created.order_id, order.give_back)
        assert isinstance(service.ask(CANCEL)[0], m.OrderCancelled)


@pytest.mark.parametrize("place", [AFTER_PROVIDER, BEFORE_COMMIT, AFTER_COMMIT])
def test_a_crash_at_any_place_holds_the_money_once(database_url: str, place: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        with armed(place, "raise"), pytest.raises(FailpointError):
            service.ask(AUTHORIZE)
        (authorized,) = service.ask(AUTHORIZE)
        assert isinstance(authorized, m.PaymentAuthorized)
        assert service.one("select count(*) from sandbox_intents where status = 'HELD'") == 1
        assert service.one("select payment_intent_id from rows") == authorized.payment_intent_id


def test_a_revert_lets_the_hold_go_once(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as service:
        service.ask(AUTHORIZE)
        assert service.ask(REVERT) == service.ask(REVERT)
        assert service.one("select array_agg(status) from sandbox_intents") == ["RELEASED"]


def test_poison_is_set_aside_and_holds_up_nobody(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        nul = b'{"type":"create_order","correlation_id":"x","payload":{"customer_id":"\\u0000"}}'
        answers = service.deliver([raw(b"{"), command_record(CREATE), raw(None), raw(nul)])
        assert [type(answer) for answer in answers] == [m.OrderCreated]
        assert service.one("select count(*) from dead_letters") == 3


def test_commands_of_other_flows_are_left_alone(database_url: str) -> None:
    with hosted(Participant.ORDER, database_url) as service:
        foreign = raw(b'{"type": "ship_order", "correlation_id": "s", "payload": {}}')
        assert service.deliver([foreign, command_record(AUTHORIZE)]) == []
        assert service.one("select count(*) from rows") == 0


def test_two_hosts_of_one_participant_do_a_command_once(database_url: str) -> None:
    ids = [saga_id() for _ in range(10)]
    batch = [command_record(AUTHORIZE, one) for one in ids]
    with hosted(Participant.PAYMENT, database_url) as first, hosted(Participant.PAYMENT, database_url) as second:
        with ThreadPoolExecutor(2) as pool:
            done = [pool.submit(_until_done, service, batch) for service in (first, second)]
        assert done[0].result() == done[1].result()
        assert first.one("select count(*) from sandbox_intents") == len(ids)


def test_ten_hosts_may_start_at_once(database_url: str) -> None:
    def start(_: int) -> int:
        with hosted(Participant.NOTIFICATION, database_url) as service:
            return int(service.one("select count(*) from rows"))

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(start, range(10))) == [0] * 10


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


def test_a_notice_is_kept_once_and_found_by_its_customer(database_url: str) -> None:
    notice = m.OrderConfirmedNotice(
        saga_id=str(SAGA), customer_id="c-1", status="COMPLETED", title="t", explanation="e", money="m"
    )
    with hosted(Participant.NOTIFICATION, database_url) as service:
        assert service.ask(notice) == service.ask(notice) == []
        with service.host._ledger.transaction() as transaction:
            assert [row.title for row in transaction.inbox("c-1")] == ["t"]


def _until_done(service: Hosted, batch: list[Record]) -> list[m.Message]:
    """As the consume loop does: whoever met the other asks again."""
    for _ in range(20):
        try:
            return service.deliver(batch)
        except LedgerUnavailable:
            continue
    raise AssertionError("never done")
