"""How the reference payment service's ledger is asked."""

QUERY = "SELECT payment_id, order_id, payment_intent_id, amount_cents, status FROM participant_payment.rows"
