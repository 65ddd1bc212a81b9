"""Each line that concerns a saga says which, at which step and by which message; none says whose it is."""

import io
import json
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest
import structlog

from ordersaga.bus.protocol import Outcome, Outgoing, Published
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.delivery.relay import Relay
from ordersaga.logs import configure
from ordersaga.orchestrator.runtime import turn
from ordersaga.orchestrator.runtime.twins import Twins
from ordersaga.settings import Settings
from ordersaga.wire import messages as m
from ordersaga.wire.codec import encode
from tests.canaries import CUSTOMER, MARK
from tests.runtime.stage import Stage, raw, record
from tests.runtime.test_people_needed import stuck

NAMES = {"saga_id", "step", "message_id"}


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    out = io.StringIO()
    configure(Settings(log_format="json"), out)
    structlog.configure(**{**structlog.get_config(), "cache_logger_on_first_use": False})
    yield out
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_each_line_about_a_saga_names_it_its_step_and_the_message(
    stage: Stage, out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    sagas = {
        "saga.failed": UUID(stuck(stage)),
        "saga.needs_attention": odd(stage),
        "handle.decide_failed": undecided(stage, monkeypatch),
        "orders.same_again": ordered_twice(),
        "relay.refused": refused(stage),
    }
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    about = [line for line in lines if any(str(saga_id) in json.dumps(line) for saga_id in sagas.values())]
    assert {line["event"] for line in about} >= sagas.keys()
    for line in about:
        expected = NAMES - {"step"} if line["event"] == "relay.refused" else NAMES
        assert expected <= line.keys(), line
    for event, saga_id in sagas.items():
        (found,) = [line for line in about if line["event"] == event]
        assert found["saga_id"] == str(saga_id)
        assert event == "orders.same_again" or found["message_id"], "which message it was about"
    assert MARK not in out.getvalue()


def odd(stage: Stage) -> UUID:
    """A saga whose payment service holds the money twice, the second time with another intent."""
    saga_id = stage.begin()
    stage.handler.records([stage.answer(saga_id, m.OrderCreated(order_id=f"o-{saga_id}"))])
    info = m.PaymentInfo(stripe_customer_id="cus", payment_method_id="pm")
    stage.handler.records([stage.answer(saga_id, m.PaymentInfoRetrieved(payment_info=info))])
    for intent in ("one", "two"):
        event = m.PaymentAuthorized(
            payment_id=f"p-{saga_id}", order_id=f"o-{saga_id}", payment_intent_id=intent, status="AUTHORIZED"
        )
        stage.handler.records([record(event, saga_id)])
    return saga_id


def undecided(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A saga on whose answer our own code fails."""
    saga_id = stage.begin()
    event = m.OrderCreated(order_id=f"o-{saga_id}")
    value = encode(event, correlation_id=saga_id, timestamp=datetime.now(UTC), source="test", message_id=uuid4())
    with monkeypatch.context() as patched:
        patched.setattr(turn, "decide", lambda *_, **__: 1 // 0)
        stage.handler.records([raw(value)])
    return saga_id


def ordered_twice() -> UUID:
    twins, order, second = Twins(), {"customer_id": CUSTOMER}, uuid4()
    twins.placed(order, uuid4())
    twins.placed(order, second)
    return second


def refused(stage: Stage) -> UUID:
    """A saga whose command no broker takes."""
    saga_id = stage.begin()
    lane = ("order_commands", str(saga_id).encode())
    (row,) = [row for row in stage.sent if (row.record.topic, row.record.key) == lane]
    relay = Relay(Refusing(), PostgresOutbox(stage.pool, uuid4()))
    relay._delay([(row, Outcome(Published.REFUSED, "too large"))])
    return saga_id


class Refusing:
    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        return [Outcome(Published.REFUSED, "too large") for _ in records]

    def partition(self, topic: str, key: bytes) -> int | None:
        return None

    def cut_off(self) -> bool:
        return False

    def close(self, timeout_seconds: float) -> None:
        """Nothing to close."""


def test_what_an_error_of_the_database_quotes_is_not_in_the_log(stage: Stage, out: io.StringIO) -> None:
    log = structlog.get_logger("ordersaga.test")
    for statement, value in (
        ("insert into admission (taken, by, why) values (null, %s, 'x')", CUSTOMER),
        ("select %s::jsonb", f'{{"customer_id": "{CUSTOMER}", "name": "\\u0000"}}'),
    ):
        with pytest.raises(psycopg.Error, match=MARK) as quotes_the_row:
            stage.execute(statement, value)
        came_of_it = ValueError("what came of it")
        came_of_it.__cause__ = quotes_the_row.value
        log.error("it.failed", exc_info=came_of_it)
    first, second = [json.loads(line) for line in out.getvalue().splitlines()]
    assert "NotNullViolation" in first["exception"] and "ValueError: what came of it" in first["exception"]
    assert "UntranslatableCharacter" in second["exception"]
    assert MARK not in out.getvalue()
