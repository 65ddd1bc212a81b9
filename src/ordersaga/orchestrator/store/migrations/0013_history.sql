-- History that is dropped keeps nobody waiting for longer than it takes, and none of it stays for ever.

-- As before, but for what it reads while nobody can write history: what stays of the week, by index, and not all of it.
CREATE OR REPLACE FUNCTION drop_history_week(name text, first uuid, past uuid, most int) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '2s' SET enable_seqscan = off AS $$
DECLARE
    staying uuid[];
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
    -- Named one by one: for a join with all sagas the whole week may be read.
    staying := ARRAY(SELECT id FROM sagas WHERE id >= first AND id < past);
    EXECUTE format('ALTER TABLE saga_history DETACH PARTITION %I', name);
    EXECUTE format('INSERT INTO saga_history SELECT * FROM %I WHERE saga_id = ANY ($1)', name) USING staying;
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END $$;

-- What is in no dated week, of sagas that have gone into the archive with it, or were forgotten for good. From now on it
-- goes with its saga. Whoever brings one back meanwhile waits, and writes it anew.
LOCK TABLE saga_history_other IN SHARE ROW EXCLUSIVE MODE;
DELETE FROM saga_history_other h WHERE NOT EXISTS (SELECT FROM sagas s WHERE s.id = h.saga_id);
