-- One batch of sagas: load, decide, save. Everything is passed as arrays; a statement is sent only where it has rows.

-- name: lock(ids, written, server)
-- In the order of ids, so that two batches cannot wait for each other. Without the state where the row is the one that
-- the transaction `written` left on the server that was started at `server`: then it is known. `n`: which of the ids.
SELECT s.id, s.saga, s.version, CASE WHEN s.xmin <> k.by OR pg_postmaster_start_time() <> :server THEN s.state END,
    s.order_id, s.payment_id, k.n
FROM unnest(:ids, :written) WITH ORDINALITY k (id, by, n) JOIN sagas s ON s.id = k.id
ORDER BY s.id FOR UPDATE OF s;

-- name: lock_free(ids, written, server)
-- The same without those that another transaction holds.
SELECT s.id, s.saga, s.version, CASE WHEN s.xmin <> k.by OR pg_postmaster_start_time() <> :server THEN s.state END,
    s.order_id, s.payment_id, k.n
FROM unnest(:ids, :written) WITH ORDINALITY k (id, by, n) JOIN sagas s ON s.id = k.id
ORDER BY s.id FOR UPDATE OF s SKIP LOCKED;

-- name: lock_by_reference(ids, written, server, order_ids, payment_ids)
-- In the order of ids too; with those that have one of the orders or payments, for events that name no saga. Of one that
-- is in the archive, or is moved while it is waited for, nothing but the id. All in one statement: in what it sees each
-- saga is in one of the two places.
WITH k AS MATERIALIZED (
    SELECT id, by, n FROM unnest(:ids, :written) WITH ORDINALITY named (id, by, n)
    UNION ALL
    SELECT id, '0'::xid, NULL FROM sagas
    WHERE (order_id = ANY (:order_ids) OR payment_id = ANY (:payment_ids)) AND id <> ALL (:ids)
    UNION ALL
    SELECT saga_id, '0'::xid, NULL FROM archive
    WHERE (order_id = ANY (:order_ids) OR payment_id = ANY (:payment_ids)) AND saga_id <> ALL (:ids)
), locked AS MATERIALIZED (
    SELECT s.id, s.saga, s.version,
        CASE WHEN s.xmin <> k.by OR pg_postmaster_start_time() <> :server THEN s.state END state,
        s.order_id, s.payment_id
    FROM k JOIN sagas s ON s.id = k.id
    ORDER BY s.id FOR UPDATE OF s
)
SELECT k.id, l.saga, l.version, l.state, l.order_id, l.payment_id, k.n
FROM k LEFT JOIN locked l ON l.id = k.id ORDER BY k.id;

-- name: lock_free_by_reference(ids, written, server, order_ids, payment_ids)
-- The same without those that another transaction holds.
SELECT s.id, s.saga, s.version, CASE WHEN s.xmin <> k.by OR pg_postmaster_start_time() <> :server THEN s.state END,
    s.order_id, s.payment_id, k.n
FROM (
    SELECT id, by, n FROM unnest(:ids, :written) WITH ORDINALITY named (id, by, n)
    UNION ALL
    SELECT id, '0'::xid, NULL FROM sagas
    WHERE (order_id = ANY (:order_ids) OR payment_id = ANY (:payment_ids)) AND id <> ALL (:ids)
) k JOIN sagas s ON s.id = k.id
ORDER BY s.id FOR UPDATE OF s SKIP LOCKED;

-- name: personal(ids, written, server)
-- A statement of its own, after the locks are held: who waited for a lock gets the newest row of the table that is
-- locked, but of a joined one what was there before the wait. With it comes the one clock that deadlines are compared
-- with; there is a row for it even if nothing is found. Nothing of those whose state is known.
SELECT clock_timestamp(), p.saga_id, p.data
FROM (VALUES (1)) always
LEFT JOIN (
    unnest(:ids, :written) k (id, by)
    JOIN sagas s ON s.id = k.id AND (s.xmin <> k.by OR pg_postmaster_start_time() <> :server)
    JOIN saga_personal p ON p.saga_id = k.id
) ON true;

-- name: personal_by_reference(ids, written, server, order_ids, payment_ids)
-- The same. It may find more than was locked, which is passed over.
SELECT clock_timestamp(), p.saga_id, p.data
FROM (VALUES (1)) always
LEFT JOIN (
    (
        SELECT id, by FROM unnest(:ids, :written) named (id, by)
        UNION ALL
        SELECT id, '0'::xid FROM sagas
        WHERE (order_id = ANY (:order_ids) OR payment_id = ANY (:payment_ids)) AND id <> ALL (:ids)
    ) k
    JOIN sagas s ON s.id = k.id AND (s.xmin <> k.by OR pg_postmaster_start_time() <> :server)
    JOIN saga_personal p ON p.saga_id = k.id
) ON true;

-- name: begin_sagas(ids, sagas, versions, statuses, steps, revisions, order_ids, payment_ids, reasons, attentions, resolveds, created, updated, completed, states)!
-- New sagas.
INSERT INTO sagas (
    id, saga, version, status, step, revision, order_id, payment_id, reason, attention, resolved,
    created_at, updated_at, completed_at, state
)
SELECT * FROM unnest(
    :ids, :sagas, :versions, :statuses, :steps, :revisions, :order_ids, :payment_ids, :reasons, :attentions, :resolveds,
    :created, :updated, :completed, :states
);

-- name: move_sagas(ids, was, statuses, steps, revisions, order_ids, payment_ids, reasons, attentions, resolveds, updated, completed, states)!
-- Sagas that were loaded. One that has another revision than it was loaded with is not written, and the count tells.
-- Deadlines of theirs that failed are looked at again at once: what they wait for may be another by now.
WITH again AS (
    UPDATE deadlines SET due_at = statement_timestamp(), failing_since = NULL
    WHERE failing_since IS NOT NULL AND saga_id = ANY (:ids)
)
UPDATE sagas s SET
    status = v.status, step = v.step, revision = v.revision, order_id = v.order_id, payment_id = v.payment_id,
    reason = v.reason, attention = v.attention, resolved = v.resolved, updated_at = v.updated_at,
    completed_at = v.completed_at, state = v.state
FROM unnest(
    :ids, :was, :statuses, :steps, :revisions, :order_ids, :payment_ids, :reasons, :attentions, :resolveds,
    :updated, :completed, :states
) v (id, was, status, step, revision, order_id, payment_id, reason, attention, resolved, updated_at, completed_at, state)
WHERE s.id = v.id AND s.revision = v.was;

-- name: written_by()
-- The number that every row written by this transaction bears, and the server whose number it is.
SELECT pg_current_xact_id()::xid::text::bigint, pg_postmaster_start_time();

-- name: keep_personal(ids, customers, data)!
-- What belongs to a person, where it changed.
INSERT INTO saga_personal (saga_id, customer_id, data) SELECT * FROM unnest(:ids, :customers, :data)
ON CONFLICT (saga_id) DO UPDATE SET customer_id = excluded.customer_id, data = excluded.data;

-- name: erase_personal(ids)!
-- Nothing is left of it, here.
DELETE FROM saga_personal WHERE saga_id = ANY (:ids);

-- name: add_history(ids, revisions, causes, bodies)!
-- Append only.
INSERT INTO saga_history (saga_id, revision, cause, body) SELECT * FROM unnest(:ids, :revisions, :causes, :bodies);

-- name: set_deadlines(ids, kinds, due)!
-- Deadlines that are new or were moved; none of them fails.
INSERT INTO deadlines (saga_id, kind, due_at) SELECT * FROM unnest(:ids, :kinds, :due)
ON CONFLICT (saga_id, kind) DO UPDATE SET due_at = excluded.due_at, failing_since = NULL;

-- name: clear_deadlines(ids, kinds)!
-- Deadlines that nothing waits for any more.
DELETE FROM deadlines d USING unnest(:ids, :kinds) v (saga_id, kind) WHERE d.saga_id = v.saga_id AND d.kind = v.kind;

-- name: put_off(id, kind, seen, seconds)
-- One that cannot be acted upon; unless it was moved or cleared since it was seen.
UPDATE deadlines SET
    due_at = statement_timestamp() + make_interval(secs => :seconds),
    failing_since = coalesce(failing_since, statement_timestamp())
WHERE saga_id = :id AND kind = :kind AND due_at = :seen RETURNING due_at;

-- name: add_dead_letters(topics, partitions, offsets, timestamps_ms, keys, values, headers, reasons, details)!
-- A record that is delivered again is kept once.
INSERT INTO dead_letters (topic, partition, "offset", timestamp_ms, key, value, headers, reason, detail)
SELECT * FROM unnest(:topics, :partitions, :offsets, :timestamps_ms, :keys, :values, :headers, :reasons, :details)
ON CONFLICT (topic, partition, "offset", timestamp_ms) DO NOTHING;

-- name: hold_references(references)
-- Whoever keeps an event for an id and whoever learns the id go one after the other. In one order, for all.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' early ' || reference, 0))
FROM (SELECT reference FROM unnest(:references) held (reference) ORDER BY reference) one;

-- name: known_references(references)
-- Whether a saga has learnt one of these ids meanwhile, though it be in the archive by now. A statement of its own, so
-- that it sees what was committed before the references were held.
WITH named AS MATERIALIZED (
    SELECT array_agg(substr(r, 10)) FILTER (WHERE left(r, 9) = 'order_id ') order_ids,
        array_agg(substr(r, 12)) FILTER (WHERE left(r, 11) = 'payment_id ') payment_ids
    FROM unnest(:references) one (r)
)
SELECT EXISTS (SELECT FROM named n JOIN sagas s ON s.order_id = ANY (n.order_ids) OR s.payment_id = ANY (n.payment_ids))
    OR EXISTS (SELECT FROM named n JOIN archive a ON a.order_id = ANY (n.order_ids) OR a.payment_id = ANY (n.payment_ids));

-- name: kept_early(references)
-- Whether anything is kept for these ids: a row, or none. After `hold_references`.
SELECT 1 FROM early_events WHERE reference = ANY (:references) AND kept_until > statement_timestamp() LIMIT 1;

-- name: claim_early(references)
-- What was kept for these ids.
DELETE FROM early_events WHERE reference = ANY (:references) AND kept_until > statement_timestamp()
RETURNING reference, topic, partition, "offset", value;

-- name: add_early(topics, partitions, offsets, references, values)!
-- As above, for an hour.
INSERT INTO early_events (topic, partition, "offset", reference, value, kept_until)
SELECT topic, partition, "offset", reference, value, statement_timestamp() + interval '1 hour'
FROM unnest(:topics, :partitions, :offsets, :references, :values) e (topic, partition, "offset", reference, value)
ON CONFLICT (topic, partition, "offset") DO NOTHING;

-- name: add_orphans(topics, partitions, offsets, ids, types, values)!
-- As above.
INSERT INTO orphans (topic, partition, "offset", saga_id, type, value)
SELECT * FROM unnest(:topics, :partitions, :offsets, :ids, :types, :values)
ON CONFLICT (topic, partition, "offset", saga_id) DO NOTHING;

-- name: add_keys(principals, request_keys, fingerprints, saga_ids)!
-- One that is there already is left alone, and the count tells.
INSERT INTO idempotency_keys (principal, key, fingerprint, saga_id)
SELECT * FROM unnest(:principals, :request_keys, :fingerprints, :saga_ids) ON CONFLICT DO NOTHING;

-- name: add_sums(sagas, kinds, labels, counts, microseconds)!
-- Append only: nobody waits for anybody.
INSERT INTO statistics_added (saga, kind, label, count, microseconds)
SELECT * FROM unnest(:sagas, :kinds, :labels, :counts, :microseconds);

-- name: add_in_flight(statuses, steps, counts)!
-- The same: sagas that came to a step, and those that left it.
INSERT INTO in_flight_added (status, step, count) SELECT * FROM unnest(:statuses, :steps, :counts);
