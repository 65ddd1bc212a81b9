"""What a delivery has to leave in the participants' own tables, and what each check of that has to notice."""

from contextlib import suppress

from tests.faults.ledgers import CHECKS, Ledgers
from tests.waiting import until

DRAIN_SECONDS = 60.0
_OF_ANY_SAGA = (
    "every saga has ended",
    "an order that a runner has is not cancelled",
    "the provider holds money once for each payment that stands, and for nothing else",
    "a participant knows no order that no saga placed",
    "the statistics are those of the history",
    "the statistics count every saga that was begun, by the day too",
    "the sums of what is in flight are those of a full count",
    "what was committed was published",
    "nothing was set aside",
    "no deadline is left of a saga that waits for nothing",
)
"""Those of the first saga that hold of this one too."""

OF_DELIVERIES = {
    "a completed delivery is marked, captured and paid out, by that saga, in its amounts": """
        select s.id::text from ordersaga.sagas s
        join ordersaga.saga_personal who on who.saga_id = s.id
        left join participant_order.rows o on o.order_id = s.order_id
        left join participant_payment.rows p on p.order_id = s.order_id
        left join participant_payment.sandbox_intents i on i.intent_id = p.payment_intent_id
        left join participant_payment.sandbox_payouts x on x.payout_id = p.payout_id
        where s.saga = 'complete_order' and s.status = 'COMPLETED' and not coalesce(
            (o.status, p.status, i.status) = ('COMPLETED', 'CAPTURED', 'CAPTURED')
            and o.delivered_for = s.id::text
            and who.data ->> 'runner_id' = all (array[o.runner_id, p.runner_id, x.runner_id])
            and (s.state -> 'data' ->> 'amount_cents')::bigint = all (array[p.amount_cents, i.amount_cents])
            and (s.state -> 'data' ->> 'payout_cents')::bigint = all (array[p.payout_cents, x.amount_cents]), false)
    """,
    "an order is delivered once": """
        select order_id from ordersaga.sagas where saga = 'complete_order' and status = 'COMPLETED'
        group by order_id having count(*) > 1
    """,
    "of a delivery that was taken back no mark is left": """
        select s.id::text from ordersaga.sagas s
        join participant_order.rows o on o.delivered_for = s.id::text
        where s.status in ('COMPENSATED', 'CANCELLED')
    """,
    "no money moves of an order that is not delivered": """
        select p.payment_id from participant_payment.rows p
        left join participant_payment.sandbox_intents i on i.intent_id = p.payment_intent_id
        left join participant_payment.sandbox_payouts x on x.idempotency_key = p.payment_id
        where (p.status = 'CAPTURED' or i.status = 'CAPTURED' or p.payout_id is not null or x.payout_id is not null)
            and p.order_id not in (
                select order_id from ordersaga.sagas where saga = 'complete_order' and status = 'COMPLETED'
            )
    """,
    "the provider has captured and paid out what the payment service says, and nothing else": """
        select coalesce(p.payment_id, i.intent_id) from participant_payment.sandbox_intents i
        full join participant_payment.rows p on p.payment_intent_id = i.intent_id
        where (coalesce(i.status, '') = 'CAPTURED') <> (coalesce(p.status, '') = 'CAPTURED')
        union all
        select coalesce(p.payment_id, x.payout_id) from participant_payment.sandbox_payouts x
        full join (select * from participant_payment.rows where payout_id is not null) p using (payout_id)
        where p.payment_id is null or x.idempotency_key is null
    """,
    "each whom a delivery concerns is told once": """
        select s.id::text from ordersaga.sagas s
        join ordersaga.saga_personal who on who.saga_id = s.id
        left join participant_notification.rows n on n.saga_id = s.id::text
        where s.saga = 'complete_order'
        group by s.id, s.status, who.customer_id, who.data
        having array_agg(n.type || ' ' || n.customer_id order by n.type) is distinct from case s.status
            when 'COMPLETED' then array[
                'notification.order_delivered ' || who.customer_id,
                'notification.runner_paid ' || (who.data ->> 'runner_id')
            ]
            else array['notification.delivery_called_off ' || (who.data ->> 'runner_id')] end
    """,
}

PLANTED_IN_DELIVERIES = {
    "a completed delivery is marked, captured and paid out, by that saga, in its amounts": """
        update participant_payment.sandbox_payouts set amount_cents = amount_cents + 1
    """,
    "an order is delivered once": "update ordersaga.sagas set saga = 'complete_order', status = 'COMPLETED'",
    "of a delivery that was taken back no mark is left": """
        update ordersaga.sagas set status = 'COMPENSATED' where saga = 'complete_order'
    """,
    "no money moves of an order that is not delivered": """
        update ordersaga.sagas set order_id = 'another' where saga = 'complete_order'
    """,
    "the provider has captured and paid out what the payment service says, and nothing else": """
        insert into participant_payment.sandbox_payouts values ('again', 'po_again', 'r-1', 1)
    """,
    "each whom a delivery concerns is told once": """
        insert into participant_notification.rows (key, saga_id, type, customer_id, status, title, explanation, money)
        select 'again', saga_id, type, customer_id, '', '', '', '' from participant_notification.rows
        where type = 'notification.runner_paid' limit 1
    """,
}
"""What each check has to notice where an order was delivered."""


def agree(database_url: str) -> Ledgers:
    """When nothing is on its way any more, all checks hold; else it fails with what does not."""
    ledgers = Ledgers(database_url, {name: CHECKS[name] for name in _OF_ANY_SAGA} | OF_DELIVERIES)
    # Where they never agree, the assertion below shows how they differ; it says more than this wait.
    with suppress(AssertionError):
        until(lambda: not ledgers.violations(), "the ledgers agree", within_seconds=DRAIN_SECONDS)
    assert ledgers.violations() == {}
    return ledgers
