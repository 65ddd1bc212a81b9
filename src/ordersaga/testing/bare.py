"""The services that run in production, as they are: for tests of whoever has to live with them.

`BareServices` plays order, user, payment and timer service. They echo nothing but `correlation_id`, recognise no
repeats, cancel an order that a runner has, bring a cancelled one back to life, and release only the last of two holds.
What they did is in their own ledgers (`orders`, `holds`, `timers`), which tests compare with what the orchestrator
believes. `Habits` are what differs between installations; a `Mishap` is what goes wrong with one command.

No bus and no thread in here: see `testing.bare_host`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

FINAL = frozenset({"COMPLETED", "CANCELLED"})
Told = list[tuple[Participant, str, dict[str, Any]]]
"""Who says it, its name on the wire, its payload."""


class Zone(StrEnum):
    """How a service writes UTC."""

    NONE = ""
    OFFSET = "+00:00"
    Z = "Z"


@dataclass(frozen=True, kw_only=True)
class Habits:
    zone: Zone = Zone.NONE
    timer_listens: bool = True
    captures_at_once: bool = False
    """An authorization takes the money, and its revert is a refund."""
    users_unknown: frozenset[str] = frozenset()
    users_without_card: frozenset[str] = frozenset()


class Mishap(StrEnum):
    """What happens to one command."""

    NONE = "none"
    DEAF = "deaf"
    """It is read, and nothing comes of it."""
    MUTE = "mute"
    """It is carried out, and nothing is said."""
    REFUSED = "refused"
    """It is not carried out, and a technical error is said; by a service that cannot refuse, nothing is said."""
    DECLINED = "declined"
    """The card is declined; other commands are refused."""
    TWICE = "twice"
    """Its service is killed and carries it out again."""
    BOTH = "both"
    """It is carried out, and both an error and the success are said (payment service only)."""


@dataclass(slots=True)
class BareOrder:
    order_id: str
    saga_id: str
    customer_id: str
    status: str
    runner_id: str | None = None
    shown: bool = True
    """Whether the service said that it made it."""


@dataclass(slots=True)
class BareHold:
    payment_id: str
    intent_id: str
    saga_id: str
    order_id: str
    amount_cents: int
    status: str
    """AUTHORIZED, CAPTURED, REVERTED or REFUNDED."""
    shown: bool = True

    @property
    def stands(self) -> bool:
        return self.status in ("AUTHORIZED", "CAPTURED")


@dataclass(frozen=True, slots=True)
class Said:
    """An event, as it goes to the topic of `by`."""

    by: Participant
    value: bytes


@dataclass
class BareServices:
    new_id: Callable[[], str]
    """A short text that was never given out before."""
    habits: Habits = Habits()
    orders: dict[str, BareOrder] = field(default_factory=dict)
    holds: list[BareHold] = field(default_factory=list)
    timers: dict[str, datetime] = field(default_factory=dict)
    """Those that run, by order, and when they run out."""

    def carry_out(self, saga_id: str, command: m.Message, now: datetime, mishap: Mishap = Mishap.NONE) -> list[Said]:
        """What the services say to a command, in that order. Unknown commands get no answer."""
        if mishap is Mishap.DEAF:
            return []
        told = self._told(saga_id, command, mishap)
        if mishap is Mishap.TWICE:
            told += self._told(saga_id, command, Mishap.NONE)
        if mishap is Mishap.MUTE:
            self._unshown(saga_id, command)
            return []
        return [self._said(by, name, saga_id, payload, now) for by, name, payload in told]

    def _told(self, saga_id: str, command: m.Message, mishap: Mishap) -> Told:
        fails = mishap in (Mishap.REFUSED, Mishap.DECLINED)
        match command:
            case m.CreateOrder():
                return [] if fails else self._create(saga_id, command)
            case m.UpdateOrderStatus():
                return [] if fails else self._update(saga_id, command)
            case m.CancelOrder():
                return [] if fails else self._cancel(command)
            case m.GetPaymentInfo():
                return self._payment_info(command, fails)
            case m.AuthorizePayment():
                return self._authorize(saga_id, command, mishap)
            case m.RevertPayment():
                return self._revert(command, fails)
            case m.StartOrderTimer():
                return self._start(command, fails)
            case m.CancelTimer():
                return self._stop(command)
        return []

    # --- order service ----------------------------------------------------------------------------

    def _create(self, saga_id: str, command: m.CreateOrder) -> Told:
        """Never refused, and never recognised."""
        order = BareOrder(f"order-{self.new_id()}", saga_id, command.customer_id, "PENDING")
        self.orders[order.order_id] = order
        made = {
            "order_id": order.order_id,
            "customer_id": order.customer_id,
            "status": "PENDING",
            "saga_id": command.saga_id,
        }
        return [(Participant.ORDER, "order.created", made)]

    def _update(self, saga_id: str, command: m.UpdateOrderStatus) -> Told:
        """Done without looking: a cancelled order lives again."""
        order = self.orders.get(command.order_id)
        if order is None or command.status != "CREATED":
            return []
        order.status = command.status
        updated = {"order_id": order.order_id, "status": order.status, "saga_id": saga_id}
        return [(Participant.ORDER, "order.status_updated", updated)]

    def _cancel(self, command: m.CancelOrder) -> Told:
        """Whatever a runner thinks of it."""
        order = self.orders.get(command.order_id or "")
        if order is None:
            return []
        reason = command.reason
        if order.status in FINAL:
            reason = f"Already in final state: {order.status}"
        else:
            order.status = "CANCELLED"
        return [(Participant.ORDER, "order.cancelled", {"order_id": order.order_id, "reason": reason})]

    # --- user service -----------------------------------------------------------------------------

    def _payment_info(self, command: m.GetPaymentInfo, fails: bool) -> Told:
        error = "Internal server error: connection reset" if fails else ""
        if command.user_id in self.habits.users_unknown:
            error = "User not found"
        if command.user_id in self.habits.users_without_card:
            error = "Default payment method not set for user"
        if error:
            return [(Participant.USER, "user.payment_info_failed", {"error": error})]
        info = {"stripeCustomerId": f"cus_{command.user_id}", "paymentMethodId": f"pm_{command.user_id}"}
        return [(Participant.USER, "user.payment_info_retrieved", {"payment_info": info})]

    # --- payment service --------------------------------------------------------------------------

    def _authorize(self, saga_id: str, command: m.AuthorizePayment, mishap: Mishap) -> Told:
        """Twice makes two holds of one payment."""
        technical = {"error": "DATABASE_ERROR", "message": "INSERT INTO payments ... customer 4242"}
        if mishap is Mishap.DECLINED:
            declined = {"error": "STRIPE_CARD_ERROR", "message": "declined", "stripe_code": "card_declined"}
            return [(Participant.PAYMENT, "payment.failed", declined)]
        if mishap is Mishap.REFUSED:
            refused = {"error": "INVALID_PAYLOAD", "message": "customer is missing"}
            return [(Participant.PAYMENT, "payment.failed", refused)]
        before = next((hold.payment_id for hold in self.holds if hold.saga_id == saga_id), None)
        hold = BareHold(
            payment_id=before or f"pay-{self.new_id()}",
            intent_id=f"pi_{self.new_id()}",
            saga_id=saga_id,
            order_id=command.order_id,
            amount_cents=command.order.amount,
            status="CAPTURED" if self.habits.captures_at_once else "AUTHORIZED",
        )
        self.holds.append(hold)
        authorized = {
            "payment_id": hold.payment_id,
            "order_id": hold.order_id,
            "payment_intent_id": hold.intent_id,
            "status": "SUCCEEDED" if self.habits.captures_at_once else "AUTHORIZED",
        }
        told = [(Participant.PAYMENT, "payment.authorized", authorized)]
        return [(Participant.PAYMENT, "payment.failed", technical), *told] if mishap is Mishap.BOTH else told

    def _revert(self, command: m.RevertPayment, fails: bool) -> Told:
        """Only the last hold of a payment is released."""
        holds = [hold for hold in self.holds if hold.payment_id == command.payment_id]
        error = "INVALID_PAYLOAD" if not command.payment_id else "not_found" if not holds else ""
        error = "stripe_error" if fails and not error else error
        if error:
            return [(Participant.PAYMENT, "payment.failed", {"error": error, "message": "..."})]
        return [(Participant.PAYMENT, "payment.released", self._release(holds[-1]))]

    @staticmethod
    def _release(hold: BareHold) -> dict[str, Any]:
        if hold.stands:
            hold.status = "REFUNDED" if hold.status == "CAPTURED" else "REVERTED"
        return {"payment_id": hold.payment_id, "status": "REVERTED", "message": "the hold is released"}

    # --- timer service ----------------------------------------------------------------------------

    def _start(self, command: m.StartOrderTimer, fails: bool) -> Told:
        if not self.habits.timer_listens:
            return []
        if fails:
            return [(Participant.TIMER, "timer.failed", {"error": "TIMER_ERROR", "order_id": command.order_id})]
        self.timers[command.order_id] = command.timeout_at
        return [(Participant.TIMER, "timer.started", {"order_id": command.order_id})]

    def _stop(self, command: m.CancelTimer) -> Told:
        if not self.habits.timer_listens:
            return []
        self.timers.pop(command.order_id, None)
        return [(Participant.TIMER, "timer.cancelled", {"order_id": command.order_id, "reason": command.reason})]

    def expire(self, now: datetime) -> list[Said]:
        """Timers that have run out."""
        passed = [order_id for order_id, timeout_at in self.timers.items() if timeout_at <= now]
        for order_id in passed:
            del self.timers[order_id]
        return [
            self._said(Participant.TIMER, "timer.expired", self._saga_of(one), {"order_id": one}, now) for one in passed
        ]

    # --- what people do, past the saga ------------------------------------------------------------

    def accept(self, order_id: str, runner_id: str, now: datetime) -> list[Said]:
        """A runner takes the order; nothing is said where it is not open."""
        order = self.orders[order_id]
        if order.status != "CREATED":
            return []
        order.status, order.runner_id = "ACCEPTED", runner_id
        told = {
            "orderId": order_id,
            "customerId": order.customer_id,
            "runnerId": runner_id,
            "status": "accepted",
            "event": json.dumps({"orderId": order_id, "runnerId": runner_id}),
        }
        return [self._news("ORDER_ACCEPTED", order_id, told, now)]

    def give_back(self, order_id: str, now: datetime) -> list[Said]:
        order = self.orders[order_id]
        if order.status != "ACCEPTED":
            return []
        order.status, order.runner_id = "CREATED", None
        return [self._news("ORDER_ACCEPTANCE_CANCELLED", order_id, {"orderId": order_id}, now)]

    def deliver(self, order_id: str, now: datetime) -> list[Said]:
        order = self.orders[order_id]
        if order.status != "ACCEPTED":
            return []
        order.status = "COMPLETED"
        return [self._news("ORDER_COMPLETED", order_id, {"orderId": order_id}, now)]

    def cancel(self, order_id: str, now: datetime) -> list[Said]:
        """Somebody cancels at the order service."""
        order = self.orders[order_id]
        if order.status not in ("PENDING", "CREATED"):
            return []
        order.status = "CANCELLED"
        return [self._news("ORDER_CANCELLED", order_id, {"orderId": order_id}, now)]

    def void(self, hold: BareHold, now: datetime) -> list[Said]:
        """Somebody lets a hold go at the payment service."""
        if not hold.stands:
            return []
        told = self._release(hold)
        return [self._said(Participant.PAYMENT, "payment.released", hold.saga_id, told, now)]

    def lapse(self, hold: BareHold, now: datetime) -> list[Said]:
        """The provider gives up a hold."""
        if hold.status != "AUTHORIZED":
            return []
        hold.status = "REVERTED"
        told = {
            "error": "STRIPE_PAYMENT_CANCELED",
            "payment_id": hold.payment_id,
            "message": "canceled by the provider",
        }
        return [self._said(Participant.PAYMENT, "payment.failed", hold.saga_id, told, now)]

    def others(self, now: datetime) -> list[Said]:
        """What other flows leave on the same topics."""
        payout = {"payment_id": "pay-x", "runner_id": "r-9", "amount": 16.98, "status": "SUCCEEDED"}
        chat = {"orderId": "order-elsewhere", "text": "on my way"}
        return [
            self._said(Participant.PAYMENT, "payment.released", f"payout-{self.new_id()}", payout, now),
            self._said(Participant.ORDER, "ORDER_UPDATED", f"order-{self.new_id()}", chat, now),
            Said(Participant.USER, b'{"type":"user.created","correlation_id":"u-1","payload":{}}'),
        ]

    # --- small print ------------------------------------------------------------------------------

    def _unshown(self, saga_id: str, command: m.Message) -> None:
        """The last that was made for a saga is known to nobody."""
        if isinstance(command, m.CreateOrder):
            [order for order in self.orders.values() if order.saga_id == saga_id][-1].shown = False
        if isinstance(command, m.AuthorizePayment):
            [hold for hold in self.holds if hold.saga_id == saga_id][-1].shown = False

    def _saga_of(self, order_id: str) -> str:
        order = self.orders.get(order_id)
        return order.saga_id if order else order_id

    def _news(self, name: str, order_id: str, payload: dict[str, Any], now: datetime) -> Said:
        """The order service tells of people under an id that is no saga's."""
        return self._said(Participant.ORDER, name, f"order-{now:%Y%m%d%H%M%S}-{self.new_id()}", payload, now)

    def _said(self, by: Participant, name: str, correlation_id: str, payload: dict[str, Any], now: datetime) -> Said:
        stamp = now.replace(tzinfo=None).isoformat(timespec="microseconds") + self.habits.zone
        source = f"{by.value}-service"
        value = {
            "type": name,
            "correlation_id": correlation_id,
            "timestamp": stamp,
            "payload": payload,
            "source": source,
        }
        return Said(by, json.dumps(value).encode())
