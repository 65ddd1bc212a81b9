-- Orders, one per saga. A cancel that came before its order is a row without an order_id.
CREATE TABLE IF NOT EXISTS rows (
    key text PRIMARY KEY,
    order_id text UNIQUE,
    customer_id text,
    status text NOT NULL,
    amount_cents bigint,
    details jsonb,
    runner_id text,
    reason text
) WITH (fillfactor = 70);
