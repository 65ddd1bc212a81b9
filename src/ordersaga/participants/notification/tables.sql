-- What customers were told.
CREATE TABLE IF NOT EXISTS rows (
    key text PRIMARY KEY,
    saga_id text NOT NULL,
    type text NOT NULL,
    customer_id text NOT NULL,
    order_id text,
    runner_id text,
    status text NOT NULL,
    title text NOT NULL,
    explanation text NOT NULL,
    money text NOT NULL,
    reason text,
    amount_cents bigint,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- One customer's inbox, newest first.
DO $$ BEGIN
    IF to_regclass('rows_customer') IS NULL THEN
        CREATE INDEX rows_customer ON rows (customer_id, received_at DESC);
    END IF;
END $$;
