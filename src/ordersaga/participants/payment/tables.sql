-- Payments, one per order. A revert that came before its authorization is a row without an intent.
CREATE TABLE IF NOT EXISTS rows (
    key text PRIMARY KEY,
    payment_id text NOT NULL UNIQUE,
    order_id text UNIQUE,
    customer_id text,
    amount_cents bigint NOT NULL,
    payment_intent_id text,
    status text NOT NULL,
    reason text
) WITH (fillfactor = 70);
-- What came later. ALTER TABLE wants the table for itself even where all columns are there, so it is not asked then.
DO $$ BEGIN
    IF EXISTS (
        SELECT unnest(ARRAY['hold_key', 'runner_id', 'payout_id', 'payout_cents'])
        EXCEPT SELECT attname FROM pg_attribute WHERE attrelid = 'rows'::regclass
    ) THEN
        ALTER TABLE rows
            -- Under which key the provider was asked, while it has not answered.
            ADD COLUMN IF NOT EXISTS hold_key text,
            ADD COLUMN IF NOT EXISTS runner_id text,
            ADD COLUMN IF NOT EXISTS payout_id text,
            ADD COLUMN IF NOT EXISTS payout_cents bigint;
    END IF;
END $$;

-- The sandbox provider's own ledger: one row per hold. It commits by itself, as a real provider does.
CREATE TABLE IF NOT EXISTS sandbox_intents (
    idempotency_key text PRIMARY KEY,
    intent_id text UNIQUE,
    amount_cents bigint NOT NULL,
    payment_method_id text NOT NULL,
    decline_code text,
    status text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    released_at timestamptz
);

-- What it has paid out: one row per key.
CREATE TABLE IF NOT EXISTS sandbox_payouts (
    idempotency_key text PRIMARY KEY,
    payout_id text NOT NULL UNIQUE,
    runner_id text NOT NULL,
    amount_cents bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
