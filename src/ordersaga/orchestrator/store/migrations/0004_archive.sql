-- Whose a saga in the archive is, so that erasure finds it there too; how old it is, for retention.

ALTER TABLE archive ADD COLUMN customer_id text;
COMMENT ON COLUMN archive.customer_id IS 'As in saga_personal: gone with the personal data.';
CREATE INDEX archive_customer ON archive (customer_id) WHERE customer_id IS NOT NULL;
COMMENT ON INDEX archive_customer IS 'Erasure on request.';

-- Rows are written once and deleted in bulk.
ALTER TABLE archive SET (autovacuum_vacuum_scale_factor = 0.05);

-- Drop a week of history whose sagas are in the archive with theirs. The history of those that are not (at most `most` of
-- them; more: nothing is done) moves to the partition of all other weeks first. Returns whether it was dropped.
CREATE FUNCTION drop_history_week(name text, first uuid, past uuid, most int) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('ordersaga.history_partitions', 0));
    IF to_regclass(name) IS NULL THEN
        RETURN false;
    END IF;
    IF (SELECT count(*) FROM (SELECT FROM sagas WHERE id >= first AND id < past LIMIT most + 1) left_over) > most THEN
        RETURN false;
    END IF;
    -- From here on nobody writes history, for the moment that this takes: no saga can come back or go in between.
    LOCK TABLE saga_history IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('ALTER TABLE saga_history DETACH PARTITION %I', name);
    EXECUTE format(
        'INSERT INTO saga_history SELECT h.* FROM %I h JOIN sagas s ON s.id = h.saga_id', name
    );
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END $$;
COMMENT ON FUNCTION drop_history_week(text, uuid, uuid, int) IS 'Called by the archive, after all that is old enough was moved.';
