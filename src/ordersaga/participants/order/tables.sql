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
-- What came later. ALTER TABLE wants the table for itself even where all columns are there, so it is not asked then.
DO $$ BEGIN
    IF EXISTS (
        SELECT unnest(ARRAY['delivered_for', 'delivered_from', 'called_off'])
        EXCEPT SELECT attname FROM pg_attribute WHERE attrelid = 'rows'::regclass
    ) THEN
        ALTER TABLE rows
            ADD COLUMN IF NOT EXISTS delivered_for text,
            ADD COLUMN IF NOT EXISTS delivered_from text,
            ADD COLUMN IF NOT EXISTS called_off text[] NOT NULL DEFAULT '{}';
        COMMENT ON COLUMN rows.called_off IS
            'Sagas whose mark that it was delivered was taken back, or is refused when it comes.';
    END IF;
END $$;
