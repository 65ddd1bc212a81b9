-- Dead letters and orphans: what people look at, and what becomes of it.

-- name: page(reason, settled, before, limit)
-- Newest first; open ones only, unless asked.
SELECT id, created_at, topic, partition, "offset", timestamp_ms, key, value, headers, reason, detail,
    settled_at, settled_as, settled_by, settled_why
FROM dead_letters
WHERE id < :before
    AND (:settled OR settled_at IS NULL)
    AND ((:reason)::text IS NULL OR reason = :reason)
ORDER BY id DESC LIMIT :limit;

-- name: parked(reason, after, limit)
-- Open ones of one reason, oldest first.
SELECT id, created_at, topic, partition, "offset", timestamp_ms, key, value, headers, reason, detail,
    settled_at, settled_as, settled_by, settled_why
FROM dead_letters WHERE settled_at IS NULL AND reason = :reason AND id > :after ORDER BY id LIMIT :limit;

-- name: get(id)
-- One.
SELECT id, created_at, topic, partition, "offset", timestamp_ms, key, value, headers, reason, detail,
    settled_at, settled_as, settled_by, settled_why
FROM dead_letters WHERE id = :id;

-- name: settle(id, how, by, role, why)!
-- What was settled before stays as it is.
WITH settled AS (
    UPDATE dead_letters SET settled_at = clock_timestamp(), settled_as = :how, settled_by = :by, settled_why = :why
    WHERE id = :id AND settled_at IS NULL
    RETURNING id, settled_as, settled_by, settled_why
)
INSERT INTO audit (actor, role, verb, reason, outcome)
SELECT settled_by, (:role)::text, 'dead letter ' || id, settled_why, settled_as FROM settled;

-- name: orphans(saga_id, settled, before, limit)
-- Newest first; of one saga, if asked; open ones only, unless asked.
SELECT id, created_at, saga_id, type, topic, partition, "offset", value, settled_at, settled_by, settled_why FROM orphans
WHERE id < :before
    AND (:settled OR settled_at IS NULL)
    AND ((:saga_id)::uuid IS NULL OR saga_id = :saga_id)
ORDER BY id DESC LIMIT :limit;

-- name: orphan(id)
-- One.
SELECT id, created_at, saga_id, type, topic, partition, "offset", value, settled_at, settled_by, settled_why FROM orphans
WHERE id = :id;

-- name: discard_orphan(id, by, role, why)!
-- What was discarded before stays as it is.
WITH settled AS (
    UPDATE orphans SET settled_at = clock_timestamp(), settled_by = :by, settled_why = :why
    WHERE id = :id AND settled_at IS NULL
    RETURNING id, saga_id, settled_by, settled_why
)
INSERT INTO audit (actor, role, verb, saga_id, reason, outcome)
SELECT settled_by, (:role)::text, 'orphan ' || id, saga_id, settled_why, 'discarded' FROM settled;
