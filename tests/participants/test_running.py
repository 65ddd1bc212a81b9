"""Participants with all their loops, over a bus in memory and a real database."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.delivery.failpoints import FailpointError, armed
from ordersaga.participants.host import AFTER_COMMIT
from ordersaga.participants.order import service as order
from ordersaga.participants.service import Asked, Reply
from ordersaga.wire import messages as m
from ordersaga.wire.codec import Envelope
from ordersaga.wire.topics import Participant
from tests.participants.stage import (
    AUTHORIZE,
    CANCEL,
    CREATE,
    SAGA,
    START,
    TOPICS,
    authorize,
    command_record,
    create,
    envelopes,
    hosted,
    raw,
    running,
    saga_id,
    start,
)
from tests.waiting import until

OTHERS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@pytest.fixture
def bus() -> Iterator[MemoryBus]:
    bus = MemoryBus(topics=TOPICS.all())
    yield bus
    bus.close(1)


def test_an_answer_that_a_crash_kept_back_comes_from_the_next_process_and_again_the_same(
    bus: MemoryBus, database_url: str
) -> None:
    record = command_record(AUTHORIZE)
    with (
        hosted(Participant.PAYMENT, database_url) as crashed,
        armed(AFTER_COMMIT, "raise"),
        pytest.raises(FailpointError),
    ):
        crashed.deliver([record])
    send(bus, TOPICS.payment_commands, [record])  # its offset was not committed
    with running(Participant.PAYMENT, database_url, bus) as service:
        until(lambda: len(said(bus, TOPICS.payment_events)) >= 2, "the kept answer and the repeated one are out")
        first, second = bus.records(TOPICS.payment_events)
        assert first.value == second.value, "the same id, time and content"
        assert service.one("select count(*) from sandbox_intents") == 1
        until(lambda: service.one("select count(*) from outbox") == 0, "what was published is deleted")


def test_poison_in_the_middle_of_a_batch_is_parked_and_the_others_are_answered(
    bus: MemoryBus, database_url: str
) -> None:
    ids = [saga_id() for _ in range(9)]
    poisoned = ids[4]
    records = [command_record(create(one), one) for one in ids]
    with running(Participant.ORDER, database_url, bus, start=False) as service:
        service.host.spec = replace(service.host.spec, answer=_fails_for(str(poisoned)))
        send(bus, TOPICS.order_commands, [raw(b"\xff"), *records])
        service.host.start()
        until(lambda: len(said(bus, TOPICS.order_events)) == 8, "everyone else is answered")
        until(lambda: service.one("select count(*) from dead_letters") == 2, "both kinds of poison are put aside")
        assert {one.saga_id for one in said(bus, TOPICS.order_events)} == set(ids) - {poisoned}
        assert service.one("select count(*) from dead_letters where reason like 'ZeroDivisionError%'") == 1
        until(lambda: service.host.health().healthy, "all is well again")


def test_two_hosts_share_the_commands_and_answer_each_once(bus: MemoryBus, database_url: str) -> None:
    ids = [saga_id() for _ in range(60)]
    with ExitStack() as stack:
        first = stack.enter_context(running(Participant.PAYMENT, database_url, bus))
        stack.enter_context(running(Participant.PAYMENT, database_url, bus))
        send(bus, TOPICS.payment_commands, [command_record(authorize(f"o-{one}"), one) for one in ids], spread=True)
        until(lambda: {one.saga_id for one in said(bus, TOPICS.payment_events)} == set(ids), "all are answered")
        assert first.one("select count(*) from sandbox_intents where status = 'HELD'") == 60


def test_a_timer_fires_by_itself(bus: MemoryBus, database_url: str) -> None:
    with running(Participant.TIMER, database_url, bus):
        send(bus, TOPICS.timer_commands, [command_record(start(timeout_at=datetime.now(UTC)))])
        until(
            lambda: [type(one.body) for one in said(bus, TOPICS.timer_events)] == [m.TimerStarted, m.TimerExpired],
            "it has started and fired",
        )


def test_a_service_that_waits_for_a_row_in_vain_says_so_and_answers_when_it_is_free(
    bus: MemoryBus, database_url: str
) -> None:
    with (
        hosted(Participant.ORDER, database_url) as first,
        running(Participant.ORDER, database_url, bus, tables=False, timeout_seconds=1.0) as second,
    ):
        first.ask(CREATE)
        with first.ledger.transaction() as transaction:
            transaction.load([str(SAGA)], [], [])
            send(bus, TOPICS.order_commands, [command_record(CANCEL)])
            until(lambda: "LedgerUnavailable" in second.host.health().detail, "it is not well")
        until(lambda: m.OrderCancelled in {type(one.body) for one in said(bus, TOPICS.order_events)}, "it answers")
        until(lambda: second.host.health().healthy, "it is well again")


def test_a_service_that_has_stopped_holds_no_connection(bus: MemoryBus, database_url: str) -> None:
    with running(Participant.PAYMENT, database_url, bus):
        send(bus, TOPICS.payment_commands, [command_record(AUTHORIZE)])
        until(lambda: len(said(bus, TOPICS.payment_events)) == 1, "it has answered")
    with psycopg.connect(database_url, autocommit=True) as connection:
        until(lambda: connection.execute(OTHERS).fetchone() == (0,), "it has left the database")


def test_all_five_in_one_process(bus: MemoryBus, database_url: str) -> None:
    notice = m.OrderConfirmedNotice(
        saga_id=str(SAGA), customer_id="c4n4ry-1", status="COMPLETED", title="t", explanation="e", money="m"
    )
    asked: dict[Participant, m.Message] = {
        Participant.ORDER: CREATE,
        Participant.USER: m.GetPaymentInfo(user_id="alice-c4n4ry"),
        Participant.PAYMENT: AUTHORIZE,
        Participant.TIMER: START,
        Participant.NOTIFICATION: notice,
    }
    with ExitStack() as stack:
        hosts = {one: stack.enter_context(running(one, database_url, bus)) for one in Participant}
        for participant, command in asked.items():
            send(bus, TOPICS.commands_of(participant), [command_record(command)])
        answering = [one for one in Participant if one is not Participant.NOTIFICATION]
        until(lambda: all(said(bus, TOPICS.events_of(one)) for one in answering), "everyone has answered")
        until(lambda: len(hosts[Participant.NOTIFICATION].host.inbox("c4n4ry-1")) == 1, "the notice is kept")
        until(lambda: all(one.host.health().healthy for one in hosts.values()), "everyone is well")


def test_a_host_may_be_stopped_before_its_start_and_twice(bus: MemoryBus, database_url: str) -> None:
    with running(Participant.ORDER, database_url, bus, start=False) as service:
        assert service.host.stop(5)
        assert service.host.stop(5)


def send(bus: MemoryBus, topic: str, records: Sequence[Record], *, spread: bool = False) -> None:
    """`spread`: over the partitions, as records without a key are."""
    producer = bus.producer(client_id="test")
    producer.publish(
        [
            Outgoing(topic, b"" if spread else record.key or b"", record.value or b"", record.headers)
            for record in records
        ],
        5.0,
    )


def said(bus: MemoryBus, topic: str) -> list[Envelope]:
    return envelopes([record.value or b"" for record in bus.records(topic)])


def _fails_for(saga: str) -> Any:
    def answer(row: Any, asked: Asked) -> Reply:
        if asked.key == saga:
            raise ZeroDivisionError
        return order.answer(row, asked)

    return answer
