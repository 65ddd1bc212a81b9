-- Orders, one per saga. A cancel that came before its order is a row without an order_id.
CREATE TABLE IF NOT EXISTS rows (
    key text PRIMARY KEY,
    order_id text UNIQUE,
    customer_id text,
    status text NOT NULL,
    amount_cents bigint,
    details jsonb,
    runner_id text,
    reason text,
    delivered_for text,
    delivered_from text,
    called_off text[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);
ALTER TABLE rows ADD COLUMN IF NOT EXISTS delivered_for text;
ALTER TABLE rows ADD COLUMN IF NOT EXISTS delivered_from text;
ALTER TABLE rows ADD COLUMN IF NOT EXISTS called_off text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN rows.called_off IS 'Sagas whose mark that it was delivered was taken back, or is refused when it comes.';
