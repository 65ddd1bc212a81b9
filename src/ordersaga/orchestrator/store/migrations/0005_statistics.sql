-- What transactions add to the statistics; a chore folds it into the hours. Append-only, so that nobody waits.

CREATE TABLE statistics_added (
    at timestamptz NOT NULL DEFAULT statement_timestamp(),
    saga text NOT NULL,
    kind text NOT NULL,
    label text NOT NULL,
    count bigint NOT NULL,
    microseconds bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE statistics_added IS 'What was not folded into statistics yet: some seconds worth.';

-- Whole microseconds, whose sum is the same in whatever order they are added.
ALTER TABLE statistics ALTER COLUMN seconds TYPE bigint USING (seconds * 1000000)::bigint;
ALTER TABLE statistics RENAME COLUMN seconds TO microseconds;
