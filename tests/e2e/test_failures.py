"""Every failure at every step, before and after it, on Apache Kafka and PostgreSQL, with full and with bare
participants. What came of it is read from the participants' own ledgers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from bench.stage import Stage
from ordersaga.bus.kafka import KafkaBus
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.demo.client import Api
from ordersaga.participants.everyone import host_of
from ordersaga.testing.bare import BareServices, Mishap
from ordersaga.testing.bare_host import BareHost
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant, Topics
from tests.e2e.meddling import Case, Cases, MeddlingBus, Trouble
from tests.faults.ledgers import CHECKS, Ledgers
from tests.waiting import until

Deployment = Callable[..., Stage]
IMPATIENT = {
    "ORDERSAGA_STEP_TIMEOUT_SECONDS": "2",
    "ORDERSAGA_STEP_ATTEMPTS_MAX": "2",
    "ORDERSAGA_UNDO_TIMEOUT_SECONDS": "2",
    "ORDERSAGA_UNDO_BACKOFF_SECONDS_MAX": "2",
}
LATE_SECONDS = 6.0
LATEST_SECONDS = 10.0
"""Longer than any answer takes."""
FORWARD: tuple[type[m.Message], ...] = (
    m.CreateOrder,
    m.GetPaymentInfo,
    m.AuthorizePayment,
    m.UpdateOrderStatus,
    m.StartOrderTimer,
)
BACKWARD: tuple[type[m.Message], ...] = (m.CancelOrder, m.RevertPayment, m.CancelTimer)
DETAILS = {"foodItems": [{"name": "burrito", "price": 4.35, "quantity": 2}], "deliveryLocation": "c4n4ry Dorm 7"}
AMOUNT_CENTS = 870


# --- full participants ----------------------------------------------------------------------------

FULL = [
    *(Case(f"{command.__name__} {trouble.name}", command, trouble) for command in FORWARD for trouble in Trouble),
    # These are declined, and the first undo fails as well.
    *(
        Case(f"declined {command.__name__} {trouble.name}", command, trouble, once=True)
        for command in BACKWARD[:1]
        for trouble in (Trouble.BEFORE, Trouble.TWICE)
    ),
    *(
        Case(f"{name}-c4n4ry-{number}")
        for number, name in enumerate(("alice", "declined", "no-card", "unknown", "silent"))
    ),
]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_whatever_fails_at_full_participants_their_ledgers_agree(deployment: Deployment) -> None:
    stage = deployment(participants="none", settings=IMPATIENT)
    cases = Cases({case.customer_id: case for case in FULL})
    with _reference_participants(stage, cases):
        sagas = _placed(stage, FULL)
        _ended(stage, sagas)
        found = _at_rest(stage, sagas)
        ledgers = Ledgers(stage.database_url, CHECKS)
        with suppress(AssertionError):
            until(lambda: not ledgers.violations(), "the ledgers agree", within_seconds=60.0)
        assert ledgers.violations() == {}
    assert {case.customer_id for case in FULL if case.command} == set(cases.met), "each trouble was met"
    for case in FULL:
        assert found[case.customer_id]["status"] == _expected_of_full(case), case.customer_id


def _expected_of_full(case: Case) -> str:
    if case.command is None:
        return "COMPLETED" if case.customer_id.startswith("alice") else "COMPENSATED"
    if case.customer_id.startswith("declined"):
        return "COMPENSATED"
    lost = case.trouble in (Trouble.BEFORE, Trouble.AFTER) or (
        case.trouble is Trouble.LATE and case.command is not m.StartOrderTimer
    )
    return "COMPENSATED" if lost and case.command is not m.StartOrderTimer else "COMPLETED"


@contextmanager
def _reference_participants(stage: Stage, cases: Cases) -> Iterator[None]:
    bus = MeddlingBus(KafkaBus(stage.kafka.bootstrap_servers), cases)
    hosts = [
        host_of(one, bus, stage.database_url, topics=Topics(), clock=SystemClock(), randomness=SystemRandom())
        for one in Participant
    ]
    for host in hosts:
        host.create_tables()
        host.start()
    try:
        yield
    finally:
        for host in hosts:
            host.stop(5.0)
        bus.close(5.0)


# --- bare participants ----------------------------------------------------------------------------

LATE = "late"
TROUBLES: tuple[Any, ...] = (Mishap.DEAF, Mishap.MUTE, Mishap.REFUSED, Mishap.DECLINED, Mishap.TWICE, Mishap.BOTH, LATE)
BARE = [
    *(Case(f"{command.__name__} {trouble}", command, trouble) for command in FORWARD for trouble in TROUBLES),
    *(
        Case(f"undo {command.__name__} {trouble}", command, trouble, once=True)
        for command in BACKWARD[:2]
        for trouble in (Mishap.DEAF, Mishap.MUTE, Mishap.TWICE)
    ),
    Case("alice-c4n4ry"),
]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_whatever_fails_at_bare_participants_nothing_stands_that_nobody_is_told_of(deployment: Deployment) -> None:
    stage = deployment(participants="none", kinds="bare", settings=IMPATIENT)
    cases = Cases({case.customer_id: case for case in BARE})
    bus = KafkaBus(stage.kafka.bootstrap_servers)
    services = BareServices(new_id=lambda: uuid4().hex[:12])

    def plan(saga_id: str, command: m.Message) -> tuple[Mishap, float]:
        case = cases.suffers(saga_id, command)
        if case is None:
            return Mishap.NONE, 0.0
        return (Mishap.NONE, LATE_SECONDS) if case.trouble == LATE else (case.trouble, 0.0)

    host = BareHost(services, bus, topics=Topics(), clock=SystemClock(), randomness=SystemRandom(), plan=plan)
    host.start()
    try:
        sagas = _placed(stage, BARE)
        until(lambda: len(cases.of_saga) == len(BARE), "each order has come", within_seconds=60.0)
        _cancelled_by_their_customers(stage, sagas)
        _ended(stage, sagas)
        found = _at_rest(stage, sagas)
    finally:
        host.stop(5.0)
        bus.close(5.0)
    for name, saga in found.items():
        assert _unexplained(services, sagas[name], saga) == [], (name, saga["status"], saga["attention"])
        assert saga["status"] in ("COMPLETED", "COMPENSATED", "CANCELLED"), name
    assert {case.customer_id for case in BARE if case.command} == set(cases.met), "each trouble was met"
    assert found["alice-c4n4ry"]["status"] == "COMPLETED"
    assert found["AuthorizePayment declined"]["reason"] == "PAYMENT_DECLINED"
    assert found["CreateOrder late"]["status"] == "COMPENSATED"


def _cancelled_by_their_customers(stage: Stage, sagas: dict[str, str]) -> None:
    """What there is to undo, all of it."""
    api = Api(stage.urls[0])
    for name, saga_id in sagas.items():
        if name.startswith("undo "):
            until(lambda saga_id=saga_id: api.saga(saga_id)["status"] == "COMPLETED", name)  # type: ignore[misc]
            api.cancel(saga_id, "changed my mind")


def _at_rest(stage: Stage, sagas: dict[str, str]) -> dict[str, Any]:
    """When no saga has moved for longer than any answer is late: what each of them is then."""
    api = Api(stage.urls[0])
    found: dict[str, Any] = {}
    moved_at = monotonic()

    def still() -> bool:
        nonlocal found, moved_at
        now = {name: api.saga(saga_id) for name, saga_id in sagas.items()}
        if any(found.get(name, {}).get("revision") != saga["revision"] for name, saga in now.items()):
            moved_at = monotonic()
        found = now
        return monotonic() - moved_at > LATEST_SECONDS

    until(still, "nothing moves any more", within_seconds=120.0)
    return found


def _unexplained(services: BareServices, saga_id: str, saga: Any) -> list[str]:
    """What stands at the services though it should not, and no message showed and no `attention` names."""
    orders = [one for one in services.orders.values() if one.saga_id == saga_id and one.shown]
    holds = [one for one in services.holds if one.saga_id == saga_id and one.shown]
    standing_orders = [one.order_id for one in orders if one.status != "CANCELLED"]
    standing_holds = [one.intent_id for one in holds if one.stands]
    if saga["status"] == "COMPLETED":
        mine = saga["order_id"]
        assert mine in standing_orders
        standing_orders.remove(mine)
        assert standing_holds
        standing_holds = standing_holds[1:]
        assert holds[0].amount_cents == AMOUNT_CENTS
    told = " ".join(saga["attention"] or ())
    return [one for one in [*standing_orders, *standing_holds] if one not in told]


# --- both -----------------------------------------------------------------------------------------


def _placed(stage: Stage, cases: Sequence[Case]) -> dict[str, str]:
    """Sagas by customer."""
    api = Api(stage.urls[0])
    return {case.customer_id: api.place({"customer_id": case.customer_id, "order_details": DETAILS}) for case in cases}


def _ended(stage: Stage, sagas: dict[str, str]) -> None:
    ledgers = Ledgers(stage.database_url)
    until(lambda: ledgers.ended() >= len(sagas), "every saga has ended", within_seconds=150.0)
