"""The database is restored from a backup in which an order was under way, bare services have gone on with it since, and
all of that is in the log. Each is asked once, all lives together.
"""

import gc
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from ordersaga import bootstrap, bootstrap_commands
from ordersaga.as_set import topic_specs, topics_of
from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Bus, Record
from ordersaga.cli import app
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.demo.client import Api
from ordersaga.local.kafka import Kafka
from ordersaga.local.ports import free_port
from ordersaga.settings import Settings, variable
from ordersaga.testing.bare import BareServices, Mishap
from ordersaga.testing.bare_host import BareHost
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant, Topics
from tests.waiting import until
from tests.whole import order, running, settings_for

FORWARD = ("CreateOrder", "GetPaymentInfo", "AuthorizePayment", "UpdateOrderStatus", "StartOrderTimer")
ONCE = dict.fromkeys(FORWARD, 1)
OTHERS = (Participant.USER, Participant.PAYMENT, Participant.TIMER)
BARE = {f"participant_{name}": "bare" for name in ("order", "user", "payment", "timer", "notification")}

TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'ordersaga'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
"""


class Scene:
    """Services that play each part when they are let, one order, and a database that can go back."""

    def __init__(self, settings: Settings, bus: Bus) -> None:
        self.settings, self.bus = settings, bus
        self.services = BareServices(new_id=lambda: uuid4().hex[:12])
        self.asked: Counter[str] = Counter()
        """What the services were asked, by name."""
        self.mishaps: dict[str, Mishap] = {}
        self.began = datetime.now(UTC) - timedelta(minutes=5)
        self._hosts: list[BareHost] = []

    def plan(self, saga_id: str, command: m.Message) -> tuple[Mishap, float]:
        name = type(command).__name__
        self.asked[name] += 1
        return self.mishaps.get(name, Mishap.NONE), 0.0

    def listen(self, *played: Participant) -> None:
        """From now on these services carry out what they are asked."""
        for one in played:
            host = BareHost(
                self.services,
                self.bus,
                topics=topics_of(self.settings),
                clock=SystemClock(),
                randomness=SystemRandom(),
                plan=self.plan,
                played=[one],
                group=f"bare-{one.value}-{self.settings.kafka_group}",
            )
            host.start()
            self._hosts.append(host)

    def by_hand(self, act: Any) -> None:
        assert self._hosts[0].by_hand(act)

    def said(self, topic: str) -> Sequence[Record]:
        assert isinstance(self.bus, MemoryBus)
        return self.bus.records(topic)

    def until_said(self, topic: str, what: str) -> None:
        """Once."""
        until(lambda: len(self.said(topic)) == 1, what)

    def stop(self) -> None:
        for host in self._hosts:
            host.stop(5.0)

    @contextmanager
    def serving(self, processes: int = 1) -> Iterator[Api]:
        with ExitStack() as stack:
            for number in range(processes):
                port = self.settings.http_port if not number else free_port()
                settings = self.settings.model_copy(update={"http_port": port})
                stack.enter_context(running(bootstrap.orchestrator(settings, self.bus)))
            api = Api(f"http://127.0.0.1:{self.settings.http_port}")
            until(api.ready, "the orchestrator is ready")
            yield api

    def back_up(self) -> None:
        with self._database() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("CREATE SCHEMA backup")
            for name in self._tables(connection):
                connection.execute(f"CREATE TABLE backup.{name} AS TABLE ordersaga.{name}".encode())

    def restore(self) -> None:
        with self._database() as connection, connection.transaction():
            names = self._tables(connection)
            connection.execute(f"TRUNCATE {', '.join(f'ordersaga.{name}' for name in names)}".encode())
            for name in names:
                copy = f"INSERT INTO ordersaga.{name} OVERRIDING SYSTEM VALUE SELECT * FROM backup.{name}"
                connection.execute(copy.encode())

    def read_again(self) -> str:
        url = self.settings.database_url
        assert url
        env = {variable(name): str(getattr(self.settings, name)) for name in self.settings.model_fields_set}
        env["DATABASE_URL"] = url.get_secret_value()
        env.setdefault("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        since = f"{self.began:%Y-%m-%dT%H:%M:%SZ}"
        command = ["consumption", "read-again", "--since", since, "--who", "night", "--why", "restored"]
        done = CliRunner().invoke(app, command, env=env)
        assert done.exit_code == 0, done.stderr
        resumed = CliRunner().invoke(app, ["consumption", "resume", "--who", "night"], env=env)
        assert resumed.exit_code == 0, resumed.stderr
        return done.stdout

    def _database(self) -> Any:
        assert self.settings.database_url
        return psycopg.connect(self.settings.database_url.get_secret_value(), autocommit=True)

    @staticmethod
    def _tables(connection: Any) -> Sequence[str]:
        return [name for (name,) in connection.execute(TABLES)]


@pytest.fixture
def scene(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    bus = MemoryBus(topics=Topics().all())
    monkeypatch.setattr(bootstrap_commands, "kafka_bus", lambda settings: bus)
    close = bus.close
    monkeypatch.setattr(bus, "close", lambda seconds: None)
    scene = Scene(settings_for(database_url, **BARE, deadlines_every_seconds=0.1), bus)
    yield scene
    scene.stop()
    close(1)


@pytest.fixture
def scene_on_kafka(database_url: str, kafka_cluster: Kafka) -> Iterator[Scene]:
    run = uuid4().hex[:8]
    names = [name for name in Settings.model_fields if name.startswith("topic_")]
    settings = settings_for(
        database_url,
        **BARE,
        **{name: f"{name.removeprefix('topic_')}-{run}" for name in names},
        kafka_bootstrap_servers=kafka_cluster.bootstrap_servers,
        kafka_group=f"group-{run}",
        kafka_partitions=2,
    )
    bus = KafkaBus(kafka_cluster.bootstrap_servers)
    bus.create_topics(topic_specs(settings))
    scene = Scene(settings, bus)
    yield scene
    scene.stop()
    bus.close(5)
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # the Kafka client leaves sockets to it; no other test is to hear of them


def begun(scene: Scene, api: Api) -> str:
    """An order that is at its second step, in the backup too."""
    scene.listen(Participant.ORDER)
    saga_id = api.place(order())
    until(lambda: api.saga(saga_id)["current_step"] == "GET_USER_DATA", "the order is placed")
    scene.back_up()
    return saga_id


def has(api: Api, saga_id: str, status: str) -> None:
    until(lambda: api.saga(saga_id)["status"] == status, f"it is {status}")


def test_an_order_that_was_confirmed_and_accepted_since_is_asked_for_once(scene: Scene) -> None:
    _accepted_since(scene)


def test_an_order_that_was_confirmed_and_accepted_since_is_asked_for_once_on_kafka(scene_on_kafka: Scene) -> None:
    _accepted_since(scene_on_kafka)


def _accepted_since(scene: Scene) -> None:
    with scene.serving() as api:
        saga_id = begun(scene, api)
        scene.listen(*OTHERS)
        has(api, saga_id, "COMPLETED")
        order_id = api.saga(saga_id)["order_id"]
        scene.by_hand(lambda services: services.accept(order_id, "r-1", datetime.now(UTC)))
        until(lambda: api.saga(saga_id)["accepted"], "a runner has it")
    scene.restore()
    assert "1 sagas were STARTED" in scene.read_again()
    with scene.serving(processes=2) as api:
        until(lambda: api.saga(saga_id)["accepted"], "a runner still has it")
        assert api.saga(saga_id)["status"] == "COMPLETED"
    assert scene.asked == ONCE
    assert [hold.status for hold in scene.services.holds] == ["AUTHORIZED"]
    assert [one.status for one in scene.services.orders.values()] == ["ACCEPTED"]


def test_an_answer_that_was_never_read_is_not_asked_for_again(scene: Scene) -> None:
    """The command is in the log; nobody has answered it yet."""
    with scene.serving() as api:
        saga_id = begun(scene, api)
        scene.listen(Participant.USER)
        until(lambda: api.saga(saga_id)["current_step"] == "AUTHORIZE_PAYMENT", "the payment is asked for")
        scene.until_said("payment_commands", "it is in the log")
    scene.restore()
    scene.read_again()
    scene.listen(Participant.PAYMENT, Participant.TIMER)
    with scene.serving() as api:
        has(api, saga_id, "COMPLETED")
    assert scene.asked == ONCE


def test_what_was_answered_and_never_followed_is_followed_now(scene: Scene) -> None:
    """The next step was not asked for: it is, once all is read."""
    with scene.serving() as api:
        saga_id = begun(scene, api)
    scene.listen(*OTHERS)
    scene.until_said("user_events", "it is answered")
    scene.restore()
    scene.read_again()
    with scene.serving() as api:
        has(api, saga_id, "COMPLETED")
    assert scene.asked == ONCE


def test_an_order_that_was_cancelled_since_is_cancelled_and_asked_for_once(scene: Scene) -> None:
    with scene.serving() as api:
        saga_id = begun(scene, api)
        scene.listen(*OTHERS)
        has(api, saga_id, "COMPLETED")
        api.cancel(saga_id, "too late")
        has(api, saga_id, "CANCELLED")
    asked = Counter(scene.asked)
    scene.restore()
    scene.read_again()
    with scene.serving() as api:
        has(api, saga_id, "CANCELLED")
        saga = api.saga(saga_id)
    assert (saga["reason"], saga["attention"]) == ("CUSTOMER_REQUEST", [])
    assert scene.asked == asked
    assert [hold.status for hold in scene.services.holds] == ["REVERTED"]
    assert [one.status for one in scene.services.orders.values()] == ["CANCELLED"]


def test_what_was_cancelled_before_it_was_paid_is_not_paid_now(scene: Scene) -> None:
    with scene.serving() as api:
        saga_id = begun(scene, api)
        api.cancel(saga_id, "too late")
        has(api, saga_id, "CANCELLED")
        scene.listen(*OTHERS)
        scene.until_said("user_events", "it is answered late")
    scene.restore()
    scene.read_again()
    with scene.serving() as api:
        has(api, saga_id, "CANCELLED")
    assert scene.asked == {"CreateOrder": 1, "GetPaymentInfo": 1, "CancelOrder": 1}
    assert scene.services.holds == []


def test_a_payment_that_was_declined_since_is_declined(scene: Scene) -> None:
    scene.mishaps["AuthorizePayment"] = Mishap.DECLINED
    with scene.serving() as api:
        saga_id = begun(scene, api)
        scene.listen(*OTHERS)
        has(api, saga_id, "COMPENSATED")
    asked = Counter(scene.asked)
    scene.restore()
    scene.read_again()
    with scene.serving() as api:
        has(api, saga_id, "COMPENSATED")
        assert api.saga(saga_id)["reason"] == "PAYMENT_DECLINED"
    assert scene.asked == asked == {"CreateOrder": 1, "GetPaymentInfo": 1, "AuthorizePayment": 1, "CancelOrder": 1}


def test_customers_are_told_once(scene: Scene) -> None:
    with scene.serving() as api:
        saga_id = begun(scene, api)
        scene.listen(*OTHERS)
        has(api, saga_id, "COMPLETED")
        scene.until_said("notification_events", "the customer is told")
    scene.restore()
    scene.read_again()
    with scene.serving() as api:
        has(api, saga_id, "COMPLETED")
    assert len(scene.said("notification_events")) == 1


def test_to_go_back_twice_changes_nothing(scene: Scene) -> None:
    with scene.serving() as api:
        saga_id = begun(scene, api)
        scene.listen(Participant.USER)
        scene.until_said("payment_commands", "it is in the log")
    scene.restore()
    assert "1 sagas were STARTED" in scene.read_again()
    assert "1 sagas were STARTED" in scene.read_again()
    scene.listen(Participant.PAYMENT, Participant.TIMER)
    with scene.serving() as api:
        has(api, saga_id, "COMPLETED")
    assert "0 sagas were STARTED" in scene.read_again()
    assert scene.asked == ONCE
