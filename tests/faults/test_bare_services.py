"""Bare services that are killed know what they did, and do again what they had not committed."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ordersaga.bus.kafka import KafkaBus, KafkaTimings
from ordersaga.bus.protocol import Outgoing, TopicSpec
from ordersaga.local.kafka import KafkaCluster
from ordersaga.local.processes import Process
from ordersaga.testing.bare import Mishap
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from ordersaga.wire.topics import Topics
from tests.faults.bare_services import KeptServices, Ledger
from tests.runtime.stage import new_saga_id
from tests.waiting import until

TOPICS = Topics()
SAGA = str(new_saga_id())
CREATE = m.CreateOrder(customer_id="c4n4ry-1", order_details={}, saga_id=SAGA)
CUSTOMER = m.PayingCustomer(
    clerk_user_id="c4n4ry-1", stripe_customer_id="cus_c4n4ry", user_stripe_card=m.Card(payment_method_id="pm_c4n4ry")
)
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def authorize(order_id: str) -> m.AuthorizePayment:
    return m.AuthorizePayment(
        order_id=order_id, order=m.PayableOrder(amount=870, description="an order"), customer=CUSTOMER, return_url=""
    )


def test_what_they_did_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    services = KeptServices(Ledger(path))
    services.carry_out(SAGA, CREATE, NOW)
    (order_id,) = services.orders
    for _ in range(2):
        services.carry_out(SAGA, authorize(order_id), NOW)
    services.carry_out(SAGA, m.RevertPayment(reason="x", payment_id=services.holds[0].payment_id), NOW, Mishap.MUTE)
    services.carry_out(
        SAGA, m.StartOrderTimer(order_id=order_id, customer_id="c4n4ry-1", timeout_at=NOW + timedelta(minutes=30)), NOW
    )
    again = KeptServices(Ledger(path))
    assert (again.orders, again.holds, again.timers) == (services.orders, services.holds, services.timers)
    assert [hold.status for hold in again.holds] == ["AUTHORIZED", "REVERTED"], "the last hold only"
    assert again.expire(NOW + timedelta(hours=1)) and KeptServices(Ledger(path)).timers == {}


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    """Its own: the services answer every command on the platform's topics."""
    with KafkaCluster.start() as found:
        yield found


@pytest.fixture
def process(cluster: KafkaCluster, tmp_path: Path) -> Iterator[Process]:
    argv = [sys.executable, "-m", "tests.faults.bare_services", "--brokers", cluster.bootstrap_servers]
    found = Process(
        "bare services",
        [*argv, "--ledger", str(tmp_path / "ledger.sqlite")],
        log_path=tmp_path / "bare.log",
        directory=Path.cwd(),
    )
    yield found
    found.kill()


def test_a_killed_process_goes_on_where_it_was(process: Process, cluster: KafkaCluster, tmp_path: Path) -> None:
    bus = KafkaBus(cluster.bootstrap_servers, timings=KafkaTimings(heartbeat_interval_ms=300))
    bus.create_topics([TopicSpec(name, 1, {}) for name in TOPICS.all()])
    producer = bus.producer(client_id="test")

    def ask(command: m.Message) -> None:
        value = encode(command, correlation_id=SAGA, timestamp=datetime.now(UTC), source="test")
        producer.publish([Outgoing(TOPICS.order_commands, b"k", value)], 20.0)

    def orders() -> dict[str, str]:
        return {one.order_id: one.status for one in Ledger(tmp_path / "ledger.sqlite").orders().values()}

    process.start()
    ask(CREATE)
    until(lambda: len(orders()) == 1, "the order is made", within_seconds=60.0)
    process.kill()
    (order_id,) = orders()
    process.start()
    ask(m.CancelOrder(order_id=order_id, saga_id=SAGA, reason="CUSTOMER_REQUEST"))
    until(lambda: orders()[order_id] == "CANCELLED", "the same order is cancelled", within_seconds=60.0)
    bus.close(5.0)
