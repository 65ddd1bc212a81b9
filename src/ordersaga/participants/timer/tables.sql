-- Timers, one per order. A cancel that came before its timer is a row without a time.
CREATE TABLE IF NOT EXISTS rows (
    key text PRIMARY KEY,
    timer_id text NOT NULL,
    order_id text NOT NULL UNIQUE,
    timeout_at timestamptz,
    status text NOT NULL
) WITH (fillfactor = 70);
-- What is due, oldest first.
DO $$ BEGIN
    IF to_regclass('rows_due') IS NULL THEN
        CREATE INDEX rows_due ON rows (timeout_at) WHERE status = 'STARTED';
    END IF;
END $$;
