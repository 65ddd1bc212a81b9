"""Brokers that ask for a password: a wrong one is named as the cause, and never repeated."""

import logging
import time

import pytest

from ordersaga.bus.kafka import KafkaBus, KafkaSecurity, KafkaTimings
from ordersaga.bus.kafka_logging import Causes
from ordersaga.bus.protocol import BusUnavailable
from ordersaga.local.kafka import KafkaCluster
from tests.bus.reading import eventually

PASSWORD_SETTINGS = {
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:SASL_PLAINTEXT",
    "listener.name.proxied.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.proxied.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required"
    ' user_reader="right-c4n4ry-secret";',
}


def security(password: str) -> KafkaSecurity:
    return KafkaSecurity(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username="reader", password=password)


def test_a_wrong_password_is_named_as_the_cause_and_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    timings = KafkaTimings(bootstrap_timeout_ms=2_000)
    caplog.set_level(logging.DEBUG)
    with KafkaCluster.start(extra=PASSWORD_SETTINGS) as cluster:
        address = f"127.0.0.1:{cluster.nodes[0].ports.behind_proxy}"
        refused = KafkaBus(address, security=security("wrong-c4n4ry-secret"), timings=timings)
        told = failure_of(refused)
        # The second where the broker hung up before the client had read the first.
        assert "SaslAuthenticationFailed" in told or "Perhaps a refused login: check the user's name" in told
        refused.close(2)
        # The right one gets further: to the address that the broker tells, where no proxy listens in this test.
        accepted = KafkaBus(address, security=security("right-c4n4ry-secret"), timings=timings)
        eventually(lambda: "ECONNREFUSED" in failure_of(accepted), "the right password was not accepted")
        accepted.close(2)
    assert "secret" not in told + caplog.text + repr(security("wrong-c4n4ry-secret"))


def test_the_time_out_of_a_later_try_is_not_taken_for_the_cause() -> None:
    causes, cut_off = Causes(), "Connection lost: KafkaConnectionError: socket disconnected"

    def said(*messages: str) -> str:
        began = time.monotonic()
        for message in messages:
            causes.emit(logging.LogRecord("kafka.net", logging.ERROR, "", 0, message, None, None))
        return causes.since(began)

    too_late = "Connection lost: KafkaTimeoutError: SASL Authentication timed out"
    assert said(cut_off, too_late, "Bootstrap failed: KafkaTimeoutError") == cut_off
    assert said("SaslAuthenticationFailedError", cut_off, too_late) == "SaslAuthenticationFailedError"
    assert said(too_late) == too_late, "where there is nothing else"


def failure_of(bus: KafkaBus) -> str:
    with pytest.raises(BusUnavailable) as caught:
        bus.check(4)
    return str(caught.value)


def test_what_is_missing_for_a_protocol_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="password"):
        KafkaSecurity(protocol="SASL_SSL", username="reader")
    with pytest.raises(ValueError, match="ssl_context"):
        KafkaSecurity(protocol="SSL")
