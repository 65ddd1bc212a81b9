-- Looking without a lock.

-- name: due(known, limit, windows_past_seconds)
-- Deadlines that have passed, oldest first, of the known sagas and versions (`create_order 1`); windows so long ago. The
-- time of the statement, not of each row: only so can the index stop. A subquery and not a join: so it is one look by the
-- saga's id for each row.
SELECT d.saga_id, d.kind, d.due_at FROM deadlines d
WHERE d.due_at <= statement_timestamp()
    AND (d.kind <> 'window' OR d.due_at <= statement_timestamp() - make_interval(secs => :windows_past_seconds))
    AND (SELECT s.saga || ' ' || s.version = ANY (:known) FROM sagas s WHERE s.id = d.saga_id)
ORDER BY d.due_at LIMIT :limit;

-- name: get(id)
-- One saga.
SELECT s.id, s.saga, s.version, s.state, p.data
FROM sagas s LEFT JOIN saga_personal p ON p.saga_id = s.id WHERE s.id = :id;

-- name: of_order(order_id)
-- All sagas of an order, newest first. In one statement: in what it sees each is in one of the two places.
SELECT id FROM sagas WHERE order_id = :order_id
UNION ALL
SELECT saga_id FROM archive WHERE order_id = :order_id
ORDER BY 1 DESC;

-- name: history(id)
-- Every transition of one saga.
SELECT revision, at, cause, body FROM saga_history WHERE saga_id = :id ORDER BY revision;

-- name: count_statuses()
-- How many sagas there are in each status.
SELECT status, count(*) FROM sagas GROUP BY status;

-- name: count_others()
-- What waits, and what could not be used.
SELECT
    (SELECT count(*) FROM outbox),
    (SELECT count(*) FROM deadlines WHERE due_at <= statement_timestamp()),
    (SELECT count(*) FROM dead_letters WHERE settled_at IS NULL),
    (SELECT count(*) FROM orphans WHERE settled_at IS NULL);

-- name: troubles()
-- What waits for a person or for a process.
SELECT
    (SELECT count(*) FROM sagas WHERE status = 'FAILED' AND NOT resolved),
    (SELECT extract(epoch FROM statement_timestamp() - min(created_at))::float8 FROM sagas
     WHERE status = 'FAILED' AND NOT resolved),
    (SELECT count(*) FROM sagas WHERE attention AND NOT resolved),
    (SELECT count(*) FROM dead_letters WHERE settled_at IS NULL),
    (SELECT count(*) FROM orphans WHERE settled_at IS NULL),
    (SELECT count(*) FROM deadlines WHERE due_at <= statement_timestamp()),
    (SELECT greatest(0, extract(epoch FROM statement_timestamp() - min(due_at)))::float8 FROM deadlines),
    (SELECT count(*) FROM deadlines WHERE failing_since IS NOT NULL);

-- name: condition()
-- The newest migration that was applied; and whether nothing can be written, as on a standby.
SELECT coalesce(max(version), 0), current_setting('transaction_read_only') = 'on' FROM schema_migrations;

-- name: request(principal, key)
-- What was wished for under a key.
SELECT fingerprint, saga_id FROM idempotency_keys WHERE principal = :principal AND key = :key AND saga_id IS NOT NULL;

-- name: make_partitions(weeks_ahead)
-- Room for the history of the weeks to come.
SELECT make_history_partitions(:weeks_ahead);

-- name: forget_keys(after, part_max)
-- A part of those that nobody will ask for again (see `parts.py`).
WITH old AS (
    SELECT ctid, created_at FROM idempotency_keys
    WHERE created_at >= coalesce((:after)::timestamptz, '-infinity')
        AND created_at < statement_timestamp() - interval '2 days'
    ORDER BY created_at LIMIT :part_max FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM old))
)
SELECT count(*), max(created_at) FROM old;

-- name: forget_early(after, part_max)
-- A part of those that nobody claimed in time.
WITH old AS (
    SELECT ctid, kept_until FROM early_events
    WHERE kept_until >= coalesce((:after)::timestamptz, '-infinity') AND kept_until < statement_timestamp()
    ORDER BY kept_until LIMIT :part_max FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM early_events WHERE ctid = ANY (ARRAY(SELECT ctid FROM old))
)
SELECT count(*), max(kept_until) FROM old;

-- name: forget_letters(after, part_max)
-- Those of a part that were settled long ago. By their ids: when they were settled is in no index.
WITH part AS (
    SELECT id, settled_at FROM dead_letters WHERE id > coalesce((:after)::bigint, 0) ORDER BY id LIMIT :part_max
), old AS (
    SELECT ctid FROM dead_letters
    WHERE id = ANY (ARRAY(SELECT id FROM part WHERE settled_at < statement_timestamp() - interval '90 days'))
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM dead_letters WHERE ctid = ANY (ARRAY(SELECT ctid FROM old))
)
SELECT count(*), max(id) FROM part;

-- name: forget_orphans(after, part_max)
-- The same.
WITH part AS (
    SELECT id, settled_at FROM orphans WHERE id > coalesce((:after)::bigint, 0) ORDER BY id LIMIT :part_max
), old AS (
    SELECT ctid FROM orphans
    WHERE id = ANY (ARRAY(SELECT id FROM part WHERE settled_at < statement_timestamp() - interval '90 days'))
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM orphans WHERE ctid = ANY (ARRAY(SELECT ctid FROM old))
)
SELECT count(*), max(id) FROM part;
