"""The order's way: placed, seen through, cancelled, seen taken back, told of each as it is known.

One order shows both outcomes, since a completed order can be cancelled; a second one would only be one more hold on a
customer's card. It is asked for with an `Idempotency-Key`, so that asking again after a lost answer places no other and
finds what there is, to be taken back. What cannot be known, or not be taken back, is said.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from ordersaga.smoke.asking import Answer, Service, Unanswered
from ordersaga.smoke.check import Check, Result, failed, not_tried, noticed, passed

Saga = Mapping[str, Any]
DECIDED = {"COMPLETED", "COMPENSATING", "COMPENSATED", "CANCELLING", "CANCELLED", "FAILED"}
TAKEN_BACK = {"CANCELLED", "COMPENSATED"}
ENDED = {*TAKEN_BACK, "FAILED"}
GOING_BACK = {*TAKEN_BACK, "CANCELLING", "COMPENSATING"}
ABOUT_THE_CUSTOMER = {"CUSTOMER_UNKNOWN", "PAYMENT_METHOD_MISSING", "PAYMENT_DECLINED"}
EVERY_SECONDS, AGAIN_SECONDS = 0.1, 1.0
AMOUNT_DOLLARS = 0.50
"""The least that an order may come to."""
GIVEN_BACK = {"REVERTED", "REFUNDED"}
"""What the reference payment service says of a payment that is not held any more."""
LOOK_AT_THE_SAGA = "`ordersaga sagas show {}`, and the runbook"
UNKNOWN = {"IN_DOUBT", "SETTLED"}
"""Of a step: nobody said whether it was done."""
NOBODY_KNOWS = frozenset({"", "internal-error", "outcome-unknown", "unavailable"})
"""What a failure is called that may have come after the order was begun; all other names are refusals at the door."""


class LeftOpen(Exception):
    """A run was interrupted, and what it had begun may be open: the message says what, and what to do."""

    retriable = False


def order_of(customer_id: str, run: str) -> dict[str, Any]:
    """The body of `POST /orders`. `run` makes it another one than that of the run before."""
    details = {
        "foodItems": [{"name": f"smoke test {run}", "price": AMOUNT_DOLLARS, "quantity": 1}],
        "deliveryLocation": f"smoke test {run}: it is cancelled at once, nobody is to deliver it",
    }
    return {"customer_id": customer_id, "order_details": details}


@dataclass(kw_only=True)
class Trip:
    api: Service
    payments: Service | None
    """The reference payment service, where it can be asked."""
    why_it_waits: Callable[[Saga], tuple[str, str]]
    """What a saga waits for in words, and what to look at."""
    customer_id: str
    patience_seconds: float
    run: str = field(default_factory=lambda: uuid4().hex[:8])
    saga: Saga = field(default_factory=dict)
    """As it was seen last."""
    saga_id: str = ""
    in_doubt: bool = False
    """It was asked for, and nobody has said that it was refused."""
    completed: bool = False

    def checks(self) -> Iterator[Check]:
        """Raises `LeftOpen` where it is interrupted and what it has begun may be left."""
        try:
            yield self._placed()
            if self.saga_id:
                yield from self._there_and_back()
        except BaseException as interrupted:
            self._let_go(interrupted)
            raise
        if self.saga_id and self.saga.get("status") not in {*ENDED, "CANCELLING"}:
            self._cancel()
        if self.saga_id or self.in_doubt:
            yield self._left()

    @property
    def left(self) -> str:
        """What there is of it, in words; `LeftOpen` was not raised."""
        if not self.saga_id:
            return "; ".join(self._unknown()) if self.in_doubt else "no order was placed"
        status = self.saga.get("status")
        if status in GOING_BACK and not self._may_be_held():
            return f"saga {self.saga_id} is {status}, and nothing of it stays open"
        return f"saga {self.saga_id} is {status}: see that it ends: {LOOK_AT_THE_SAGA.format(self.saga_id)}"

    def _there_and_back(self) -> Iterator[Check]:
        completed = self._seen_through()
        self.completed = completed.result is Result.PASSED
        yield completed
        yield self._cancelled()
        yield self._voided()
        yield self._at_the_payment_service()
        if self.saga.get("attention"):
            yield noticed("attention", "; ".join(self.saga["attention"]), LOOK_AT_THE_SAGA.format(self.saga_id))

    def _placed(self) -> Check:
        look = "the API's log"
        try:
            answer = self._order()
            if answer.status != 202:
                return self._looked_for(f"it was answered {answer.detail}", look_of(answer))
            again = self._order()
        except Unanswered as error:
            return self._looked_for(str(error), look)
        if again.status != 202 or again.body["saga_id"] != self.saga_id:
            said = f"asked again with the same key, it was answered {again.detail} and not with saga {self.saga_id}"
            return failed("order placed", said, f"{look}: an Idempotency-Key has to name one order")
        return passed("order placed", f"saga {self.saga_id}; asked for again with its key, it is placed once")

    def _looked_for(self, why: str, look: str) -> Check:
        """What was not answered as it should be may have been placed all the same."""
        if not self.in_doubt:
            return failed("order placed", why, look)
        known = self._persisted(self._is_known)
        found = f"it is saga {self.saga_id}" if known else "nobody said whether it is placed"
        return failed("order placed", f"{why}; asked for again with its key, {found}", look)

    def _seen_through(self) -> Check:
        begun = monotonic()
        self._watch(lambda saga: saga["status"] in DECIDED)
        status, took = self.saga.get("status"), monotonic() - begun
        if status == "COMPLETED":
            ids = f"{self.saga['order_id']}, {self.saga['payment_id']}"
            return passed("order completed", f"COMPLETED after {took:.1f} s: {ids}")
        if status is None or status == "STARTED":
            said, look = self.why_it_waits(self.saga)
            return failed("order completed", f"after {took:.0f} s {said}", look)
        return failed("order completed", f"{status}: {self._why()}", self._look_at())

    def _why(self) -> str:
        reason, explanation = self.saga.get("reason"), self.saga.get("explanation")
        silent = [one["name"] for one in self.saga.get("steps", ()) if one["became"] in {None, *UNKNOWN}]
        return f"{reason}{f' at {silent[-1]}' if silent else ''}: {explanation}"

    def _look_at(self) -> str:
        if self.saga.get("reason") in ABOUT_THE_CUSTOMER:
            return (
                f"the customer {self.customer_id} cannot order: name one who can, with a card that works"
                " (ORDERSAGA_SMOKE_CUSTOMER_ID)"
            )
        return f"{self.why_it_waits(self.saga)[1]}; {LOOK_AT_THE_SAGA.format(self.saga_id)}"

    def _cancelled(self) -> Check:
        asked = self._cancel() if self.saga.get("status") not in ENDED else None
        if asked is not None and asked.status not in (202, 409):
            return failed("order cancelled", f"it was answered {asked.detail}", look_of(asked))
        begun = monotonic()
        self._watch(lambda saga: saga["status"] in ENDED or bool(saga["accepted"]))
        status, took = self.saga.get("status"), monotonic() - begun
        if self.saga.get("accepted"):
            look = f"tell the runner {self.saga.get('runner_id')}, and cancel it at the order service"
            return failed("order cancelled", "a runner was faster and has accepted it", look)
        if status == "CANCELLED":
            return passed("order cancelled", f"CANCELLED after {took:.1f} s")
        if status == "COMPENSATED":
            return not_tried("order cancelled", "nothing is left to cancel: what was done was taken back")
        said, look = self.why_it_waits(self.saga)
        return failed("order cancelled", f"after {took:.0f} s {said}", look)

    def _voided(self) -> Check:
        effects = self._payments()
        if why := self._may_be_held():
            return failed("payment voided", why, f"the payment service; {LOOK_AT_THE_SAGA.format(self.saga_id)}")
        if not effects:
            return not_tried("payment voided", "no payment was authorized")
        ids = ", ".join(one["ids"].get("payment_id", "?") for one in effects)
        released = any(one["cause"] == "payment.released" for one in self.saga["history"])
        if released and all(one["undone"] for one in effects):
            return passed("payment voided", f"payment.released came for {ids}")
        look = f"the payment service: whether it holds {ids}; {LOOK_AT_THE_SAGA.format(self.saga_id)}"
        return failed("payment voided", f"no payment.released has come for {ids}", look)

    def _may_be_held(self) -> str:
        """Why money may be held though the saga has ended: what a customer's token shows tells it, too."""
        ids = [one["ids"].get("payment_id") for one in self._payments()]
        if len(set(ids)) < len(ids):
            return f"{ids[-1]} was authorized twice, and one id takes back one hold: the other may stand"
        became = [one["became"] for one in self.saga.get("steps", ()) if one["name"] == "AUTHORIZE_PAYMENT"]
        if became and became[0] in UNKNOWN and self.saga.get("status") in TAKEN_BACK:
            return "nobody said whether the payment was authorized: a hold may stand"
        return ""

    def _payments(self) -> list[dict[str, Any]]:
        return [
            effect
            for step in self.saga.get("steps", ())
            if step["name"] == "AUTHORIZE_PAYMENT"
            for effect in step["effects"]
        ]

    def _at_the_payment_service(self) -> Check:
        what, effects = "payment service", self._payments()
        if self.payments is None:
            return not_tried(what, "nobody said where it can be asked (ORDERSAGA_SMOKE_PAYMENT_URL)")
        if not effects:
            return not_tried(what, "no payment was authorized")
        payment_id = str(effects[-1]["ids"].get("payment_id"))
        try:
            answer = self.payments.ask("GET", f"/payments/{payment_id}")
        except Unanswered as error:
            return failed(what, str(error), "whether ORDERSAGA_SMOKE_PAYMENT_URL is right, and the service's log")
        status = answer.body.get("status") if answer.status == 200 else answer.detail
        if status in GIVEN_BACK:
            return passed(what, f"says that {payment_id} is {status}")
        return failed(what, f"says of {payment_id}: {status}", f"the payment service's log, and {payment_id} there")

    def _left(self) -> Check:
        self._watch(lambda saga: True)
        if not self.saga_id:
            return failed("left behind", *self._unknown())
        status, order = self.saga.get("status"), self.saga.get("order_id") or "no order"
        said = f"{order} of the customer {self.customer_id}, saga {self.saga_id}: {status}"
        look = LOOK_AT_THE_SAGA.format(self.saga_id)
        if why := self._may_be_held():
            return failed("left behind", f"{said}; {why}", f"the payment service; {look}")
        if status in TAKEN_BACK:
            return passed("left behind", f"{said}; nothing of it is open")
        return failed("left behind", said, f"see that it ends: {look}")

    def _unknown(self) -> tuple[str, str]:
        """What may be left, and what to do."""
        return (
            f"perhaps an order of the customer {self.customer_id} with the address 'smoke test {self.run}'",
            f"`ordersaga sagas list --customer {self.customer_id}` shows it, if it is there: `ordersaga sagas cancel`",
        )

    def _let_go(self, interrupted: BaseException) -> None:
        """Take back what there may be. Who insists is told at once what is left. Raises `LeftOpen`."""
        with suppress(KeyboardInterrupt):
            if self._taken_back():
                return
        left, look = self._unknown()
        if self.saga_id:
            left, look = f"saga {self.saga_id}, which could not be cancelled", LOOK_AT_THE_SAGA.format(self.saga_id)
        raise LeftOpen(f"interrupted. It leaves {left}. What to do: {look}") from interrupted

    def _taken_back(self) -> bool:
        if self.in_doubt and not self.saga_id:
            self._persisted(self._is_known)
        if not self.saga_id:
            return not self.in_doubt
        if self.saga.get("status") not in GOING_BACK:
            self._persisted(self._cancel_is_answered)
        return self.saga.get("status") in GOING_BACK

    def _persisted(self, is_so: Callable[[], bool]) -> bool:
        """Asked for again and again, until it is so or patience is at an end."""
        end = monotonic() + self.patience_seconds
        while not is_so():
            if monotonic() > end:
                return False
            sleep(AGAIN_SECONDS)
        return True

    def _is_known(self) -> bool:
        with suppress(Unanswered):
            self._order()
        return bool(self.saga_id)

    def _cancel_is_answered(self) -> bool:
        """With what, is noted in `saga`."""
        answer = self._cancel()
        if answer is None or answer.status >= 500:
            return False
        self.saga = {**self.saga, "status": "CANCELLING" if answer.status == 202 else answer.body.get("saga_status")}
        return True

    def _order(self) -> Answer:
        """Ask for it, the first time or again. Raises `Unanswered`."""
        asked_before, self.in_doubt = self.in_doubt, True
        key = {"Idempotency-Key": f"smoke-{self.run}"}
        answer = self.api.ask("POST", "/orders", order_of(self.customer_id, self.run), key)
        if answer.status == 202:
            self.saga_id = self.saga_id or str(answer.body["saga_id"])
        elif not asked_before:
            self.in_doubt = may_be_taken(answer)
        return answer

    def _cancel(self) -> Answer | None:
        """None where there was no answer: what becomes of it shows in the saga."""
        body = {"who": self.customer_id, "why": f"smoke test {self.run}"}
        try:
            return self.api.ask("POST", f"/sagas/{self.saga_id}/cancel", body)
        except Unanswered:
            return None

    def _watch(self, done: Callable[[Saga], bool]) -> None:
        """Until it is done or patience is at an end; `saga` is what was seen last."""
        end = monotonic() + self.patience_seconds
        while True:
            try:
                answer = self.api.ask("GET", f"/sagas/{self.saga_id}")
                if answer.status == 200:
                    self.saga = answer.body
                    if done(self.saga):
                        return
            except Unanswered:
                pass  # another process may answer the next time; else the saga stays as it was seen
            if monotonic() > end:
                return
            sleep(EVERY_SECONDS)


def may_be_taken(answer: Answer) -> bool:
    """Whether the order may be there although it was not answered with its saga."""
    return answer.status == 409 or (answer.status >= 500 and answer.kind in NOBODY_KNOWS)


def look_of(answer: Answer) -> str:
    """What to look at where a request was refused."""
    match answer.status, answer.kind:
        case 401, _:
            return (
                "give a token that is known: ORDERSAGA_SMOKE_TOKEN; `ordersaga token smoke --role customer` makes one"
            )
        case 403, _:
            return "the token's role may not: `ordersaga token smoke --role customer` makes one that may"
        case 429, _:
            return "wait a minute: this customer has ordered, or somebody has tried wrong tokens, too often"
        case 503, "read-only":
            return "this API only looks (`ordersaga serve --read-only`): ask one that works, or start it without"
        case 503, "orders-are-stopped":
            return "`ordersaga orders status` says who stopped orders; `ordersaga orders resume`, when it is time"
        case 503, _:
            return "/readyz and the API's log say what it lacks"
        case 404, _:
            return "whether the URL is that of the orchestrator's API: ORDERSAGA_SMOKE_API_URL"
        case _:
            return "the API's log"
