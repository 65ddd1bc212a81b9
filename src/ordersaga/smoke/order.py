"""The order's way: placed, seen through, cancelled, seen taken back, told of each as it is known.

One order shows both outcomes, since a completed order can be cancelled; a second one would only be one more hold on a
customer's card. It is asked for with an `Idempotency-Key`, so that asking again after a lost answer places no other.
"""

from collections.abc import Callable, Iterator, Mapping
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
ABOUT_THE_CUSTOMER = {"CUSTOMER_UNKNOWN", "PAYMENT_METHOD_MISSING", "PAYMENT_DECLINED"}
EVERY_SECONDS = 0.1
AMOUNT_DOLLARS = 0.50
"""The least that an order may come to."""
GIVEN_BACK = {"REVERTED", "REFUNDED"}
"""What the reference payment service says of a payment that is not held any more."""
LOOK_AT_THE_SAGA = "`ordersaga sagas show {}`, and the runbook"


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
    completed: bool = False

    def checks(self) -> Iterator[Check]:
        placed = self._placed()
        if not self.saga_id:
            yield placed
            return
        try:
            yield placed
            yield from self._there_and_back()
        finally:
            # Also where somebody has had enough and interrupts.
            if self.saga.get("status") not in {*ENDED, "CANCELLING"}:
                self._cancel()
        yield self._left()

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
        body, key = order_of(self.customer_id, self.run), {"Idempotency-Key": f"smoke-{self.run}"}
        try:
            answer = self.api.ask("POST", "/orders", body, key)
            if answer.status != 202:
                return failed("order placed", f"it was answered {answer.detail}", look_of(answer))
            self.saga_id = str(answer.body["saga_id"])
            again = self.api.ask("POST", "/orders", body, key)
        except Unanswered as error:
            return failed("order placed", str(error), "the API's log; whether it was taken: `ordersaga sagas list`")
        if again.status != 202 or again.body["saga_id"] != self.saga_id:
            said = f"asked again with the same key, it was answered {again.detail} and not with saga {self.saga_id}"
            return failed("order placed", said, "the API's log: an Idempotency-Key has to name one order")
        return passed("order placed", f"saga {self.saga_id}; asked for again with its key, it is placed once")

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
        silent = [one["name"] for one in self.saga.get("steps", ()) if one["became"] in (None, "IN_DOUBT")]
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
        if not effects:
            return not_tried("payment voided", "no payment was authorized")
        ids = ", ".join(one["ids"].get("payment_id", "?") for one in effects)
        released = any(one["cause"] == "payment.released" for one in self.saga["history"])
        if released and all(one["undone"] for one in effects):
            return passed("payment voided", f"payment.released came for {ids}")
        look = f"the payment service: whether it holds {ids}; {LOOK_AT_THE_SAGA.format(self.saga_id)}"
        return failed("payment voided", f"no payment.released has come for {ids}", look)

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
        status, order = self.saga.get("status"), self.saga.get("order_id") or "no order"
        said = f"{order} of the customer {self.customer_id}, saga {self.saga_id}: {status}"
        if status in TAKEN_BACK:
            return passed("left behind", f"{said}; nothing of it is open")
        return failed("left behind", said, f"see that it ends: {LOOK_AT_THE_SAGA.format(self.saga_id)}")

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
