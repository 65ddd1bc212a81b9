"""What `ordersaga smoke` has begun it takes back, also where the answer to its order is lost or somebody interrupts it.
Where it cannot, it says what may be left.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from ordersaga import bootstrap_commands
from ordersaga.smoke.asking import Answer, Service, Unanswered
from ordersaga.smoke.check import Check, Result
from ordersaga.smoke.order import LeftOpen, Trip
from tests.smoke.platform import Platform, names, sagas
from tests.waiting import until


class Losing(Service):
    """The first order is taken, and its answer comes to nobody: `instead` does."""

    def __init__(self, url: str, instead: BaseException | Answer) -> None:
        super().__init__(url)
        self._instead = instead
        self._is_lost = False

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        answer = super().ask(method, path, body, headers)
        if not (headers or {}).get("Idempotency-Key") or self._is_lost:
            return answer
        assert answer.status == 202
        self._is_lost = True
        if isinstance(self._instead, BaseException):
            raise self._instead
        return self._instead


def trying(at: Platform, instead: BaseException | Answer) -> Iterator[Check]:
    """The checks, of which each order that was placed before has ended."""
    smoke = bootstrap_commands.smoke(at.settings, at.bus, orders=True)
    api = Losing(f"http://127.0.0.1:{at.settings.http_port}", instead)
    try:
        yield from replace(smoke, addresses=(), api=api).checks()
    finally:
        smoke.doctor.store.close()


@pytest.mark.parametrize(
    "instead",
    [
        Unanswered("no answer within 10 s"),
        Answer(409, {"type": "urn:ordersaga:problem:key-in-flight"}),
        Answer(503, {"type": "urn:ordersaga:problem:unavailable"}),
        Answer(502, {}),
    ],
    ids=lambda one: str(getattr(one, "status", "nothing")),
)
def test_an_order_whose_answer_is_lost_is_found_by_its_key_and_taken_back(
    healthy: Platform, instead: BaseException | Answer
) -> None:
    before = len(sagas(healthy))
    found = {one.what: one for one in trying(healthy, instead)}
    assert sagas(healthy)[before:] == ["CANCELLED"]
    assert names(found, Result.FAILED) == ["order placed"]
    assert "asked for again with its key, it is saga" in found["order placed"].said
    assert "CANCELLED; nothing of it is open" in found["left behind"].said


def test_who_interrupts_while_the_order_is_being_placed_leaves_none(healthy: Platform) -> None:
    before = len(sagas(healthy))
    with pytest.raises(KeyboardInterrupt):
        list(trying(healthy, KeyboardInterrupt()))
    (placed,) = sagas(healthy)[before:]
    assert placed in ("CANCELLING", "CANCELLED", "COMPENSATED")
    until(lambda: set(sagas(healthy)) <= {"CANCELLED", "COMPENSATED"}, "it is cancelled")


class Scripted(Service):
    """Answers what is asked of it in this order, the last one for ever."""

    def __init__(self, *answers: Answer | BaseException) -> None:
        super().__init__("http://127.0.0.1:1")
        self._answers = list(answers)

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ordersaga.smoke.order.AGAIN_SECONDS", 0.01)


def trip(*answers: Answer | BaseException) -> Trip:
    return Trip(
        api=Scripted(*answers),
        payments=None,
        why_it_waits=lambda saga: ("", ""),
        customer_id="casey",
        patience_seconds=0.1,
        run="run-7",
    )


SILENCE, TAKEN = Unanswered("no answer within 10 s"), Answer(202, {"saga_id": "saga-7"})
FIND = ["an order of the customer casey", "smoke test run-7", "`ordersaga sagas list --customer casey`", "sagas cancel"]


@pytest.mark.usefixtures("at_once")
def test_an_order_that_nobody_can_tell_of_is_said_to_be_left_with_how_to_find_it() -> None:
    found = {one.what: one for one in trip(SILENCE).checks()}
    assert list(found) == names(found, Result.FAILED) == ["order placed", "left behind"]
    assert "nobody said whether it is placed" in found["order placed"].said
    told = f"{found['left behind'].said} {found['left behind'].look}"
    assert [one for one in FIND if one not in told] == []


@pytest.mark.parametrize(
    "refused", [Answer(400, {}), Answer(429, {}), Answer(503, {"type": "urn:ordersaga:problem:orders-are-stopped"})]
)
def test_an_order_that_is_refused_leaves_nothing_and_is_asked_for_once(refused: Answer) -> None:
    (found,) = trip(refused, AssertionError("asked again")).checks()
    assert (found.what, found.result) == ("order placed", Result.FAILED)


@pytest.mark.usefixtures("at_once")
def test_a_refusal_after_a_lost_answer_tells_nothing_of_the_first() -> None:
    found = {one.what: one for one in trip(SILENCE, Answer(429, {})).checks()}
    assert "left behind" in names(found, Result.FAILED)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([KeyboardInterrupt(), SILENCE], FIND),
        ([KeyboardInterrupt(), KeyboardInterrupt()], FIND),
        ([TAKEN, KeyboardInterrupt(), SILENCE], ["saga saga-7", "`ordersaga sagas show saga-7`"]),
        ([TAKEN, KeyboardInterrupt(), Answer(409, {"saga_status": "COMPLETED"})], ["saga saga-7"]),
    ],
    ids=["not known", "insisted", "not cancelled", "a runner has it"],
)
def test_who_interrupts_is_told_what_may_be_left(answers: list[Answer | BaseException], says: list[str]) -> None:
    with pytest.raises(LeftOpen) as told:
        list(trip(*answers).checks())
    assert [one for one in says if one not in str(told.value)] == []


def test_who_interrupts_what_is_going_back_is_told_nothing() -> None:
    going_back = Answer(409, {"saga_status": "COMPENSATING"})
    with pytest.raises(KeyboardInterrupt):
        list(trip(TAKEN, KeyboardInterrupt(), going_back).checks())


PAYMENT = {"name": "AUTHORIZE_PAYMENT", "became": "UNDONE", "effects": []}
HELD = {"ids": {"payment_id": "p-1"}, "undone": True}


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (PAYMENT | {"effects": [HELD, HELD]}, "p-1 was authorized twice"),
        (PAYMENT | {"became": "SETTLED"}, "nobody said whether the payment was authorized"),
        (PAYMENT | {"became": "IN_DOUBT"}, "nobody said whether the payment was authorized"),
    ],
    ids=["held twice", "settled", "in doubt"],
)
def test_a_hold_that_may_stand_is_said_though_a_customer_is_shown_no_attention(step: dict[str, Any], why: str) -> None:
    trip = Trip(
        api=Service("http://127.0.0.1:1"),
        payments=None,
        why_it_waits=lambda saga: ("", ""),
        customer_id="smoke",
        patience_seconds=0.0,
        saga_id="01",
    )
    trip.saga = {"status": "COMPENSATED", "steps": [step], "history": [{"cause": "payment.released"}]}
    voided = trip._voided()
    assert voided.result is Result.FAILED and why in voided.said
    assert "nothing of it stays open" not in trip.left
    trip.saga = trip.saga | {"steps": [PAYMENT | {"effects": [HELD]}]}
    assert trip._voided().result is Result.PASSED and "nothing of it stays open" in trip.left
