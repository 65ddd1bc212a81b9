"""What the stories of the create-order saga begin with."""

from collections.abc import Mapping

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER, Customer, OrderData
from ordersaga.testing.story import FULL, SAGA_ID, Story, given
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant

SAGA = str(SAGA_ID)
PLACED = OrderData(
    personal=Customer(
        customer_id="c4n4ry-1", order_details={"foodItems": [{"name": "burrito", "price": 4.35, "quantity": 2}]}
    ),
    amount_cents=870,
    return_url="https://campus.example/return",
)
CREATED = m.OrderCreated(order_id="o-1")
CARD = m.PaymentInfoRetrieved(
    payment_info=m.PaymentInfo(stripe_customer_id="cus_c4n4ry", payment_method_id="pm_c4n4ry")
)
AUTHORIZED = m.PaymentAuthorized(payment_id="p-1", order_id="o-1", payment_intent_id="pi_1", status="AUTHORIZED")
OPENED = m.OrderStatusUpdated(order_id="o-1", status="CREATED")
TIMER = m.TimerStarted(order_id="o-1")
DECLINED = m.PaymentFailed(error="STRIPE_CARD_ERROR", message="c4n4ry says no", stripe_code="card_declined")
CANCELLED = m.OrderCancelled(order_id="o-1")
RELEASED = m.PaymentReleased(payment_id="p-1", status="REVERTED")
TIMER_CANCELLED = m.TimerCancelled(order_id="o-1")
ANSWERS: tuple[m.Event, ...] = (CREATED, CARD, AUTHORIZED, OPENED, TIMER)


def order(steps_done: int = 0, *, kinds: Mapping[Participant, Kind] = FULL) -> Story:
    """An order of which the first steps are done, each command looked at."""
    story = given(CREATE_ORDER, PLACED, kinds=kinds)
    asked = (m.CreateOrder, m.GetPaymentInfo, m.AuthorizePayment, m.UpdateOrderStatus, m.StartOrderTimer)
    to = (Participant.ORDER, Participant.USER, Participant.PAYMENT, Participant.ORDER, Participant.TIMER)
    for step in range(steps_done):
        story.expect(asked[step], to=to[step]).reply(ANSWERS[step])
    return story
