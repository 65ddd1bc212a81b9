-- One batch of sagas: load, decide, save. Everything is passed as arrays; a statement is sent only where it has rows.

-- name: load(ids)
-- Locked in the order of ids, so that two batches cannot wait for each other.
SELECT s.id, s.saga, s.version, s.state, p.data
FROM sagas s LEFT JOIN saga_personal p ON p.saga_id = s.id
WHERE s.id = ANY (:ids) ORDER BY s.id FOR UPDATE OF s;

-- name: load_free(ids)
-- The same without those that another transaction holds.
SELECT s.id, s.saga, s.version, s.state, p.data
FROM sagas s LEFT JOIN saga_personal p ON p.saga_id = s.id
WHERE s.id = ANY (:ids) ORDER BY s.id FOR UPDATE OF s SKIP LOCKED;

-- name: load_by_reference(ids, order_ids, payment_ids)
-- The same, for events that name an order or a payment and no saga.
SELECT s.id, s.saga, s.version, s.state, p.data
FROM sagas s LEFT JOIN saga_personal p ON p.saga_id = s.id
WHERE s.id = ANY (:ids) OR s.order_id = ANY (:order_ids) OR s.payment_id = ANY (:payment_ids)
ORDER BY s.id FOR UPDATE OF s;

-- name: now()$
-- The one clock that deadlines are compared with; asked after the locks are held.
SELECT clock_timestamp();

-- name: begin_sagas(ids, sagas, versions, statuses, steps, revisions, order_ids, payment_ids, reasons, attentions, resolveds, created, updated, completed, states)!
-- New sagas.
INSERT INTO sagas
SELECT * FROM unnest(
    (:ids)::uuid[], (:sagas)::text[], (:versions)::int[], (:statuses)::text[], (:steps)::text[], (:revisions)::int[],
    (:order_ids)::text[], (:payment_ids)::text[], (:reasons)::text[], (:attentions)::boolean[], (:resolveds)::boolean[],
    (:created)::timestamptz[], (:updated)::timestamptz[], (:completed)::timestamptz[], (:states)::jsonb[]
);

-- name: move_sagas(ids, was, statuses, steps, revisions, order_ids, payment_ids, reasons, attentions, resolveds, updated, completed, states)!
-- Sagas that were loaded. One that has another revision than it was loaded with is not written, and the count tells.
UPDATE sagas s SET
    status = v.status, step = v.step, revision = v.revision, order_id = v.order_id, payment_id = v.payment_id,
    reason = v.reason, attention = v.attention, resolved = v.resolved, updated_at = v.updated_at,
    completed_at = v.completed_at, state = v.state
FROM unnest(
    (:ids)::uuid[], (:was)::int[], (:statuses)::text[], (:steps)::text[], (:revisions)::int[], (:order_ids)::text[],
    (:payment_ids)::text[], (:reasons)::text[], (:attentions)::boolean[], (:resolveds)::boolean[],
    (:updated)::timestamptz[], (:completed)::timestamptz[], (:states)::jsonb[]
) v (id, was, status, step, revision, order_id, payment_id, reason, attention, resolved, updated_at, completed_at, state)
WHERE s.id = v.id AND s.revision = v.was;

-- name: keep_personal(ids, customers, data)!
-- What belongs to a person, where it changed.
INSERT INTO saga_personal (saga_id, customer_id, data)
SELECT * FROM unnest((:ids)::uuid[], (:customers)::text[], (:data)::jsonb[])
ON CONFLICT (saga_id) DO UPDATE SET customer_id = excluded.customer_id, data = excluded.data;

-- name: add_history(ids, revisions, causes, bodies)!
-- Append only.
INSERT INTO saga_history (saga_id, revision, cause, body)
SELECT * FROM unnest((:ids)::uuid[], (:revisions)::int[], (:causes)::text[], (:bodies)::jsonb[]);

-- name: set_deadlines(ids, kinds, due)!
-- Deadlines that are new or were moved.
INSERT INTO deadlines (saga_id, kind, due_at)
SELECT * FROM unnest((:ids)::uuid[], (:kinds)::text[], (:due)::timestamptz[])
ON CONFLICT (saga_id, kind) DO UPDATE SET due_at = excluded.due_at;

-- name: clear_deadlines(ids, kinds)!
-- Deadlines that nothing waits for any more.
DELETE FROM deadlines d USING unnest((:ids)::uuid[], (:kinds)::text[]) v (saga_id, kind)
WHERE d.saga_id = v.saga_id AND d.kind = v.kind;

-- name: add_dead_letters(topics, partitions, offsets, keys, values, headers, timestamps_ms, reasons, details)!
-- A record that is delivered again is kept once.
INSERT INTO dead_letters (topic, partition, "offset", key, value, headers, record_timestamp, reason, detail)
SELECT v.topic, v.partition, v."offset", v.key, v.value, v.headers, to_timestamp(v.timestamp_ms / 1000.0), v.reason, v.detail
FROM unnest(
    (:topics)::text[], (:partitions)::int[], (:offsets)::bigint[], (:keys)::bytea[], (:values)::bytea[],
    (:headers)::bytea[], (:timestamps_ms)::bigint[], (:reasons)::text[], (:details)::text[]
) v (topic, partition, "offset", key, value, headers, timestamp_ms, reason, detail)
ON CONFLICT (topic, partition, "offset") DO NOTHING;

-- name: add_orphans(topics, partitions, offsets, ids, types, values)!
-- As above.
INSERT INTO orphans (topic, partition, "offset", saga_id, type, value)
SELECT * FROM unnest(
    (:topics)::text[], (:partitions)::int[], (:offsets)::bigint[], (:ids)::uuid[], (:types)::text[], (:values)::bytea[]
)
ON CONFLICT (topic, partition, "offset") DO NOTHING;
