"""A saga that knows less of itself than the log does is led along what is there, whatever clocks say."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.cli_consumption import _led
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.core.inputs import Happened
from ordersaga.orchestrator.core.instance import Became, Direction, Instance, Status
from ordersaga.orchestrator.runtime.circuits import ALWAYS_OPEN, AlwaysOpen, Gate
from ordersaga.orchestrator.runtime.following import follow
from ordersaga.orchestrator.runtime.intake import Letter
from ordersaga.orchestrator.runtime.retracing import Retracing
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.track import Track, own_of
from ordersaga.orchestrator.runtime.turn import Turn
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER, Customer, OrderData
from ordersaga.orchestrator.store.protocol import Loaded, SagaPage
from ordersaga.testing.story import BARE, FULL, NOON, SAGA_ID
from ordersaga.wire import messages as m
from ordersaga.wire.codec import decode_event, encode
from ordersaga.wire.ids import message_id
from ordersaga.wire.topics import Participant, Topics

DEFINITION = replace(CREATE_ORDER, kinds=BARE)
TOPICS = Topics()
INFO = m.PaymentInfoRetrieved(payment_info=m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1"))
AUTHORIZED = m.PaymentAuthorized(payment_id="p-1", payment_intent_id="pi-1", order_id="o-1", status="AUTHORIZED")
UPDATED = m.OrderStatusUpdated(order_id="o-1", status="CREATED")
CANCELLED = m.OrderCancelled(order_id="o-1", reason="CUSTOMER_REQUEST")
RELEASED = m.PaymentReleased(payment_id="p-1", status="REVERTED")
STARTED_TIMER = m.TimerStarted(order_id="o-1")
CANCEL_ID = message_id(SAGA_ID, "CREATE_ORDER", Direction.UNDO, "o-1")
REVERT_ID = message_id(SAGA_ID, "AUTHORIZE_PAYMENT", Direction.UNDO, "p-1")


class Life:
    """What the log has, as it is told, each a second after the one before, and the saga at its second step."""

    def __init__(self) -> None:
        data = OrderData(personal=Customer(customer_id="c4n4ry-1", order_details={}), amount_cents=870)
        placed = start(DEFINITION, SAGA_ID, data, NOON).instance
        stamp = NOON - timedelta(hours=2)
        created = Happened(event=m.OrderCreated(order_id="o-1", customer_id="c4n4ry-1", status="PENDING"), stamp=stamp)
        self.saga = decide(DEFINITION, placed, created, NOON).instance
        assert self.saga.step == "GET_USER_DATA"
        self.track = Track(SAGA_ID, "night", "restored")
        self.asked("CREATE_ORDER", "GET_USER_DATA")
        self.messages: list[Outgoing] = []

    def asked(self, *steps: str) -> "Life":
        for step in steps:
            self._own("any_command", message_id(SAGA_ID, step, Direction.DO))
        return self

    def took_back(self, *ids: Any, reason: str = "CUSTOMER_REQUEST") -> "Life":
        for one in ids:
            command = m.CancelOrder(order_id="o-1", reason=reason)
            value = encode(command, correlation_id=SAGA_ID, timestamp=NOON, source="test", message_id=one)
            self._own("cancel_order", one, value)
        return self

    def told(self, *events: m.Event, skewed_seconds: float = 0.0, answers: UUID | None = None) -> "Life":
        for event in events:
            at = NOON + timedelta(seconds=self._seconds() + skewed_seconds)
            value = encode(event, correlation_id=SAGA_ID, timestamp=at, source="test", causation_id=answers)
            record = Record("events", 0, self._seconds(), None, value, (), int(at.timestamp() * 1000))
            envelope: Any = decode_event(value)
            self.track.letters.append(Letter(record, envelope))
        return self

    def held(self) -> "Life":
        """The backup has it waiting for the payment service, which answered nobody."""
        seen = Happened(event=INFO, stamp=NOON)
        self.saga = decide(DEFINITION, self.saga, seen, NOON, shut={Participant.PAYMENT}).instance
        assert self.saga.held_since is not None
        return self

    def followed(self, kinds: Mapping[Participant, Kind] = BARE, gate: Gate = ALWAYS_OPEN) -> Instance[Any]:
        sagas = Sagas([replace(CREATE_ORDER, kinds=kinds)])
        turn = Turn(sagas, TOPICS, Loaded(now=NOON + timedelta(hours=1), instances={SAGA_ID: self.saga}), gate)
        follow(turn, self.track)
        self.messages = [message for change in turn.batch().changes for message in change.messages]
        found = turn.now_of(SAGA_ID)
        assert found
        return found

    def commands(self) -> list[str]:
        """What is sent now."""
        return [dict(one.headers)["ce_type"].decode() for one in self.messages if "commands" in one.topic]

    def _own(self, name: str, sent: Any, value: bytes = b"") -> None:
        headers = (("ce_id", str(sent).encode()), ("ce_type", name.encode()))
        at = int(NOON.timestamp() * 1000) + self._seconds() * 1000
        own = own_of(Record("commands", 0, 0, str(SAGA_ID).encode(), value, headers, at))
        assert own
        self.track.add(own, is_notification=False)

    def _seconds(self) -> int:
        return len(self.track.letters) + len(self.track.own)


def all_of_it(begun: Life | None = None) -> Life:
    life = (begun or Life().told(INFO)).asked("AUTHORIZE_PAYMENT").told(AUTHORIZED).asked("UPDATE_ORDER_STATUS")
    return life.told(UPDATED).asked("START_TIMER").told(STARTED_TIMER)


def test_what_the_log_has_is_not_sent_again() -> None:
    life = all_of_it()
    assert life.followed().status is Status.COMPLETED
    assert life.commands() == []


def test_a_step_that_was_never_asked_for_is_waited_before() -> None:
    life = Life().told(INFO).asked("AUTHORIZE_PAYMENT").told(AUTHORIZED)
    saga = life.followed()
    assert (saga.status, saga.step, saga.outstanding) == (Status.STARTED, "AUTHORIZE_PAYMENT", None)
    assert saga.resume_at is not None
    assert life.commands() == []


def test_a_step_that_is_asked_for_and_not_answered_is_waited_for_anew() -> None:
    life = Life().told(INFO).asked("AUTHORIZE_PAYMENT")
    saga = life.followed()
    assert saga.outstanding and saga.outstanding.step == "AUTHORIZE_PAYMENT"
    assert saga.outstanding.due_at > NOON + timedelta(hours=1)
    assert life.commands() == []


def test_where_clocks_differ_no_answer_is_lost() -> None:
    """The user service's is an hour ahead of all others."""
    life = Life().told(INFO, skewed_seconds=3600).asked("AUTHORIZE_PAYMENT").told(AUTHORIZED)
    life.asked("UPDATE_ORDER_STATUS").told(UPDATED).asked("START_TIMER").told(STARTED_TIMER)
    assert life.followed().status is Status.COMPLETED
    assert life.commands() == []


def test_a_cancel_that_seems_to_be_older_than_the_payment_takes_the_payment_back_too() -> None:
    """The order service's clock is an hour behind; the payment was never asked to be taken back."""
    life = Life().told(INFO).asked("AUTHORIZE_PAYMENT").told(AUTHORIZED).asked("UPDATE_ORDER_STATUS")
    life.told(UPDATED, skewed_seconds=-3600).asked("START_TIMER").told(STARTED_TIMER)
    saga = life.took_back(CANCEL_ID).told(CANCELLED, skewed_seconds=-3500).followed()
    assert saga.status is Status.CANCELLING
    assert saga.reason == "CUSTOMER_REQUEST"
    assert saga.steps["CREATE_ORDER"].became is Became.UNDONE
    assert life.commands() == ["revert_payment"]


def test_all_that_was_taken_back_is_known_to_be() -> None:
    life = all_of_it().took_back(CANCEL_ID).told(CANCELLED).took_back(REVERT_ID).told(RELEASED)
    cancel_timer = message_id(SAGA_ID, "START_TIMER", Direction.UNDO, "o-1")
    saga = life.took_back(cancel_timer).told(m.TimerCancelled(order_id="o-1")).followed()
    assert (saga.status, saga.reason) == (Status.CANCELLED, "CUSTOMER_REQUEST")
    assert life.commands() == []


def test_full_services_name_what_they_answer_and_it_is_recognised() -> None:
    life = Life()
    for step, event in (
        ("GET_USER_DATA", INFO),
        ("AUTHORIZE_PAYMENT", AUTHORIZED),
        ("UPDATE_ORDER_STATUS", UPDATED),
        ("START_TIMER", STARTED_TIMER),
    ):
        life.asked(step).told(event, answers=message_id(SAGA_ID, step, Direction.DO))
    assert life.followed(FULL).status is Status.COMPLETED
    assert life.commands() == []


def test_a_second_hold_that_was_taken_back_cancels_nothing() -> None:
    """Undoing what a repeat made says nothing of the order."""
    another = message_id(SAGA_ID, "AUTHORIZE_PAYMENT", Direction.UNDO, "p-2")
    assert all_of_it().took_back(another).followed().status is Status.COMPLETED


def test_an_order_that_a_runner_had_is_not_cancelled_by_it() -> None:
    life = all_of_it().told(m.OrderAccepted(order_id="o-1", runner_id="r-1")).took_back(CANCEL_ID)
    saga = life.followed()
    assert saga.closed
    assert life.commands() == []


def test_what_was_asked_for_and_cannot_be_led_to_counts_as_silent() -> None:
    """What led there is no more in the log: nobody asks for the payment again, and it is taken back."""
    life = Life().asked("AUTHORIZE_PAYMENT").told(AUTHORIZED)
    saga = life.followed()
    assert (saga.status, saga.reason) == (Status.COMPENSATING, "STEP_TIMED_OUT")
    assert saga.steps["AUTHORIZE_PAYMENT"].became is Became.DONE
    assert life.commands() == ["cancel_order"]


def test_a_payment_that_went_through_late_is_found() -> None:
    """It was given up and taken back, and its answer came only then."""
    life = Life().told(INFO).asked("AUTHORIZE_PAYMENT").took_back(CANCEL_ID, reason="STEP_TIMED_OUT").told(CANCELLED)
    saga = life.told(AUTHORIZED).followed()
    assert (saga.status, saga.reason) == (Status.CANCELLING, "STEP_TIMED_OUT")
    assert life.commands() == ["revert_payment"]


class Shut(AlwaysOpen):
    """The backup has it that the payment service answers nobody."""

    def shut(self) -> frozenset[Participant]:
        return frozenset({Participant.PAYMENT})


@pytest.mark.parametrize("kinds", [BARE, FULL], ids=["bare", "full"])
@pytest.mark.parametrize("accepted", [False, True], ids=["open", "accepted"])
@pytest.mark.parametrize("held", [False, True], ids=["not held", "held"])
def test_what_the_log_has_counts_also_where_the_backup_was_made_while_a_service_answered_nobody(
    kinds: Mapping[Participant, Kind], accepted: bool, held: bool
) -> None:
    life = all_of_it(Life().held() if held else None)
    if accepted:
        life.told(m.OrderAccepted(order_id="o-1", runner_id="r-1"))
    saga = life.followed(kinds, Shut())
    assert (saga.status, saga.accepted is not None, saga.attention) == (Status.COMPLETED, accepted, ())
    assert life.commands() == []


def test_what_is_held_and_was_never_asked_for_stays_held() -> None:
    life = Life().held()
    assert life.followed() == life.saga and life.commands() == []


def test_those_that_nobody_here_can_read_are_left_as_they_are_and_said() -> None:
    store: Any = SimpleNamespace(
        page=lambda search, after: SagaPage(
            instances=[], next_after=None, unknown_versions=[SAGA_ID], damaged=[uuid4(), uuid4()]
        )
    )
    nothing: Any = None
    led = Retracing(store, nothing, Sagas([DEFINITION]), MemoryBus(), TOPICS).run(0, by="night", why="a restore")
    assert _led(led) == (
        "0 sagas were STARTED; by what the log has they are: none; 1 are of a version that is not known here; the rows"
        " of 2 are damaged"
    )
