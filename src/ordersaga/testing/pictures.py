"""Draws what happens when: a sequence diagram for each case, from the definition and the engine's table.

    python -m ordersaga.testing.pictures > docs/what-happens-when.md

Each case is a story (`testing.story`) that runs through the real engine; every arrow and every name of a row comes from
what it decided. A test compares the page with what this prints.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

from ordersaga.orchestrator.core.definition import Definition, Kind
from ordersaga.orchestrator.core.inputs import (
    CancelAsked,
    CommandDeadline,
    Decision,
    Happened,
    Input,
    Send,
    SettleAsked,
    WindowDeadline,
)
from ordersaga.orchestrator.core.instance import SagaData
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER, Delivery, People
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER, Customer, OrderData
from ordersaga.testing.story import BARE, FULL, Story
from ordersaga.wire import completing as c
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

BROUGHT = Delivery(
    personal=People(customer_id="alice", runner_id="rob"),
    order_id="o-1",
    payment_id="p-1",
    amount_cents=870,
    payout_cents=200,
)
PLACED = OrderData(personal=Customer(customer_id="alice", order_details={}), amount_cents=870)
CREATED = m.OrderCreated(order_id="o-1")
CARD = m.PaymentInfoRetrieved(payment_info=m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1"))
AUTHORIZED = m.PaymentAuthorized(payment_id="p-1", order_id="o-1", payment_intent_id="pi_1", status="AUTHORIZED")
OPENED = m.OrderStatusUpdated(order_id="o-1", status="CREATED")
TIMER = m.TimerStarted(order_id="o-1")
CANCELLED = m.OrderCancelled(order_id="o-1")
RELEASED = m.PaymentReleased(payment_id="p-1", status="REVERTED")
TIMER_CANCELLED = m.TimerCancelled(order_id="o-1")
ACCEPTED = m.OrderAccepted(order_id="o-1", runner_id="r-1")
DECLINED = m.PaymentFailed(error="STRIPE_CARD_ERROR", stripe_code="card_declined")
FASTER = m.OrderCancellationFailed(error="ORDER_ACCEPTED", order_id="o-1", status="ACCEPTED")
SHORT = {Participant.ORDER: "O", Participant.USER: "U", Participant.PAYMENT: "P", Participant.TIMER: "T"}


class Drawn(Story):
    """A story that draws itself."""

    def __init__(self, definition: Definition, data: SagaData, *, begins: str = "POST /orders") -> None:
        self.lines: list[str] = [f"C->>S: {begins}"]
        super().__init__(definition, data)
        self._draw(self.last)

    def _happen(self, seen: Input) -> Self:
        self.lines.append(self._came(seen))
        before = self.saga
        super()._happen(seen)
        if self.saga is before:
            self.lines.append(f"Note over S: {self.last.verdict.value}: {self.last.why}")
        else:
            self._draw(self.last)
        return self

    def _came(self, seen: Input) -> str:
        match seen:
            case Happened(event=event):
                return f"{self._sender(event)}-->>S: {m.type_of(event)}{_content(event)}"
            case CommandDeadline():
                again = bool(self.saga.outstanding and self.saga.outstanding.backing_off)
                return "Note over S: the pause is over" if again else "Note over S: no answer in time"
            case WindowDeadline():
                return "Note over S: nobody accepted in time"
            case CancelAsked():
                return "C->>S: POST /sagas/.../cancel"
            case SettleAsked(undo=undo):
                return f"C->>S: an operator settles {undo}"
        return f"C->>S: {type(seen).__name__}"

    def _sender(self, event: m.Event) -> str:
        asks = [step.do for step in self.definition.steps]
        asks += [undo.ask for undo in self.definition.undos()]
        sender = next((ask.to for ask in asks if type(event) in (ask.ok, ask.refused)), Participant.ORDER)
        return SHORT[sender]

    def _draw(self, decision: Decision) -> None:
        if decision.rows:
            self.lines.append(f"Note over S: {' / '.join(decision.rows)}")
        self.lines += [line for send in decision.messages if (line := _sent(send))]


def _sent(send: Send) -> str:
    if isinstance(send.body, m.Command) and send.to is not None:
        return f"S->>{SHORT[send.to]}: {m.type_of(send.body)}"
    if isinstance(send.body, m.Notification):
        return f"S-)C: {m.type_of(send.body)}"
    return f"Note over S: {getattr(send.body, 'status', m.type_of(send.body))}"


def _content(event: m.Event) -> str:
    told = getattr(event, "error", None) or (getattr(event, "reason", None) if "Already" in str(event) else None)
    return f" ({told})" if told else ""


def _order(answers: tuple[m.Event, ...] = (), *, kinds: Mapping[Participant, Kind] = FULL) -> Drawn:
    story = Drawn(replace(CREATE_ORDER, kinds=kinds), PLACED)
    for answer in answers:
        story.reply(answer)
    return story


def _delivery(answers: tuple[m.Event, ...] = ()) -> Drawn:
    story = Drawn(COMPLETE_ORDER, BROUGHT, begins="POST /orders/.../completion")
    for answer in answers:
        story.reply(answer)
    return story


DELIVERED, CAPTURED = c.OrderDelivered(order_id="o-1"), c.PaymentCaptured(payment_id="p-1", order_id="o-1")
PAID, COMPLETED = c.RunnerPaid(payout_id="po_1"), c.OrderCompleted(order_id="o-1")
NOT_HELD = c.PaymentCaptureFailed(error="NOTHING_HELD", payment_id="p-1")
NOT_PAID = c.RunnerPayoutFailed(error="PROVIDER_REFUSED", payment_id="p-1")
UNDONE = c.OrderDeliveryUndone(order_id="o-1")
DONE = (CREATED, CARD, AUTHORIZED, OPENED, TIMER)
Case = tuple[str, str, Callable[[], Any]]
CASES: tuple[Case, ...] = (
    (
        "An order goes through, and a runner accepts it",
        "Five commands, five answers; the acceptance closes it.",
        lambda: _order(DONE).hear(ACCEPTED),
    ),
    (
        "The card is declined",
        "What was done before is taken back; a refused step left nothing behind.",
        lambda: _order((CREATED, CARD)).reply(DECLINED).reply(CANCELLED),
    ),
    (
        "A full payment service is silent",
        "Silence is no refusal: the step is in doubt, and it is undone like a finished one.",
        lambda: (
            _order((CREATED, CARD)).silence().silence().silence().silence().silence().reply(CANCELLED).reply(RELEASED)
        ),
    ),
    (
        "The customer cancels",
        "First the order, so that nobody can accept it any more, then the money, then the timer.",
        lambda: _order(DONE).cancel().reply(CANCELLED).reply(RELEASED).reply(TIMER_CANCELLED),
    ),
    (
        "The customer cancels, and a runner was faster",
        "The order service decides; the customer is told.",
        lambda: _order(DONE).cancel().reply(FASTER),
    ),
    (
        "Nobody accepts in time",
        "The timer service and the saga's own deadline keep the same window. Either ends it; the saga closes it.",
        lambda: _order(DONE).nobody_accepts().reply(CANCELLED).reply(RELEASED),
    ),
    (
        "The money is given back by hand",
        "A fact: the order goes with it.",
        lambda: _order(DONE).hear(RELEASED).reply(CANCELLED).reply(TIMER_CANCELLED),
    ),
    (
        "A bare payment service is silent",
        "Asking again might hold the money twice: a person is told, and what a late answer shows is taken back.",
        lambda: _order((CREATED, CARD), kinds=BARE).silence().hear(CANCELLED).hear(AUTHORIZED).hear(RELEASED),
    ),
    (
        "A delivered order is completed",
        "The second saga. The capture is its point of no return; customer and runner are told.",
        lambda: _delivery((DELIVERED, CAPTURED, PAID, COMPLETED)),
    ),
    (
        "The money of a delivered order is not held any more",
        "A refused capture: what came before it is taken back.",
        lambda: _delivery((DELIVERED, NOT_HELD, UNDONE)),
    ),
    (
        "The capture is not answered, and somebody wants to call it off",
        "Whether the money was captured is not known: it is asked for until that is, and nothing is called off.",
        lambda: (
            _delivery((DELIVERED,))
            .silence()
            .cancel("operator", reason=Reason.OPERATOR_REQUEST)
            .silence()
            .reply(CAPTURED)
            .reply(PAID)
            .reply(COMPLETED)
        ),
    ),
    (
        "The payout is refused",
        "After the point of no return a step is asked for until it is done.",
        lambda: _delivery((DELIVERED, CAPTURED, NOT_PAID)).silence().reply(PAID).reply(COMPLETED),
    ),
)


HEAD = """# What happens when

One picture per case. `S` is the saga; the notes on it are the rows of the engine's table that were passed
(`orchestrator/core/advance.py`). `make pictures` draws them from the definition and the table; a test compares.

The services are *full* unless a title says *bare*; the default setting is bare.

## How to read the notes

A note names the rows that were passed, one after the other, or says what happened without a message, or the status that
the saga has now.

| row | what follows |
|---|---|
| the step is done | the next step is asked for; also the first one |
| a command is out | its answer is waited for, or the pause before it is asked for again |
| the step has no answer yet | it is asked for again |
| every step is done | COMPLETED, and the customer is told |
| a step failed | COMPENSATING: it was refused, or silent for too long |
| cancel was asked for | CANCELLING |
| nobody accepted in time | CANCELLING: the window has closed |
| something is to be taken back | the first undo that is needed is sent |
| all is taken back | COMPENSATED or CANCELLED, and the customer is told |
| what is in doubt cannot be named | a bare service, and no id to undo by: it is settled, with `attention` |
| found accepted, and it stands | a runner was faster: COMPLETED, and closed |
| nothing is left | the saga rests |

| note | what happened |
|---|---|
| no answer in time | the time for the answer is over |
| the pause is over | the saga may ask again |
| nobody accepted in time | the saga's own deadline for the window |
| refused: ... | a request was not granted, and nothing changed |

The other rows are for rarer cases: `TABLE` in `orchestrator/core/advance.py` has them all."""


def page() -> str:
    parts = [HEAD, *(f"## {title}\n\n{text}\n\n{_picture(tell())}" for title, text, tell in CASES)]
    return "\n\n".join(parts) + "\n"


def _picture(story: Drawn) -> str:
    end = f"{story.saga.status.value}{', because of ' + story.saga.reason.value if story.saga.reason else ''}"
    extra = f" ({story.saga.attention[0]})" if story.saga.attention else ""
    people = [
        f"actor C as {'customer' if story.saga.saga == 'create_order' else 'dispatch'}",
        "participant S as saga",
        "participant O as order service",
    ]
    people += ["participant U as user service", "participant P as payment service", "participant T as timer service"]
    lines = [*people, *story.lines, f"Note over S: {end}{extra}"]
    return "\n".join(["```mermaid", "sequenceDiagram", *(f"    {line}" for line in lines), "```"])


if __name__ == "__main__":
    sys.stdout.write(page())
