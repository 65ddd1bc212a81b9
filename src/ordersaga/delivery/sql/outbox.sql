-- A standby that lacks the last transactions gives their ids out once more. So whoever remembers ids says when the
-- server was started that they are from; NULL is for any. One that was started again looks like a standby.

-- name: write(owner, server, topics, keys, values, headers)
-- In the caller's transaction: all records of a batch. On another server they are nobody's, to be taken over. `after` is
-- the last row of the lane that was there before this statement; what the statement itself inserts is not visible to
-- it. Ids are drawn in the order of the arrays.
INSERT INTO outbox (owner, topic, key, value, headers)
SELECT
    CASE
        WHEN coalesce((:server)::timestamptz, pg_postmaster_start_time()) = pg_postmaster_start_time() THEN (:owner)::uuid
        ELSE '00000000-0000-0000-0000-000000000000'::uuid
    END,
    r.topic, r.key, r.value, r.headers
FROM unnest((:topics)::text[], (:keys)::bytea[], (:values)::bytea[], (:headers)::bytea[])
    WITH ORDINALITY AS r (topic, key, value, headers, n)
ORDER BY r.n
RETURNING
    row_id,
    owner,
    (SELECT max(earlier.row_id) FROM outbox AS earlier WHERE earlier.topic = outbox.topic AND earlier.key = outbox.key) AS after;

-- name: is_same(server)
SELECT coalesce((:server)::timestamptz, pg_postmaster_start_time()) = pg_postmaster_start_time() AS is_same;

-- name: acknowledged(row_ids, server)!
-- The records are in the log of the bus.
DELETE FROM outbox WHERE row_id = ANY((:row_ids)::bigint[])
  AND coalesce((:server)::timestamptz, pg_postmaster_start_time()) = pg_postmaster_start_time();

-- name: still_there(row_ids)
-- Which of these rows wait still, whoever owns them.
SELECT row_id FROM outbox WHERE row_id = ANY((:row_ids)::bigint[]);

-- name: seconds()
-- The clock that leases end by.
SELECT extract(epoch FROM clock_timestamp())::float8 AS seconds;

-- name: bury(too_long_seconds)!
-- Owners that did not renew in time are removed. This locks their rows: an owner that renews at this moment either finds
-- itself gone, or has its row, and lives. A lease longer than any is from before this clock was put back.
DELETE FROM outbox_owners WHERE owner IN (
    SELECT owner FROM outbox_owners
    WHERE lease_until <= clock_timestamp() OR lease_until > clock_timestamp() + make_interval(secs => :too_long_seconds)
    FOR UPDATE SKIP LOCKED
);

-- name: take_over(limit, owner, former, without)
-- Rows of owners that are gone, and of the one that I was, become mine, oldest first. The owners come from the index one by one (a loose scan), not
-- from reading all rows.
WITH RECURSIVE owners AS (
    (SELECT owner FROM outbox ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT o.owner FROM outbox AS o WHERE o.owner > owners.owner ORDER BY o.owner LIMIT 1)
    FROM owners WHERE owners.owner IS NOT NULL
),
gone AS (
    SELECT owners.owner FROM owners
    WHERE owners.owner IS NOT NULL
      AND (
          owners.owner = (:former)::uuid
          OR NOT EXISTS (SELECT 1 FROM outbox_owners AS living WHERE living.owner = owners.owner)
      )
),
mine AS (
    SELECT row_id FROM outbox WHERE owner IN (SELECT owner FROM gone) AND topic <> ALL((:without)::text[])
    ORDER BY row_id LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE outbox AS o SET owner = :owner FROM mine WHERE o.row_id = mine.row_id
RETURNING
    o.row_id, o.owner, o.topic, o.key, o.value, o.headers,
    (extract(epoch FROM o.created_at) * 1000)::bigint AS created_ms,
    (SELECT max(earlier.row_id) FROM outbox AS earlier
     WHERE earlier.topic = o.topic AND earlier.key = o.key AND earlier.row_id < o.row_id) AS after;

-- name: left_behind(owner, older_than_seconds, known, without, limit, after)
-- My own rows that the relay does not hold, oldest first. One from the future was written before this clock was put back.
SELECT
    o.row_id, o.owner, o.topic, o.key, o.value, o.headers,
    (extract(epoch FROM o.created_at) * 1000)::bigint AS created_ms,
    (SELECT max(earlier.row_id) FROM outbox AS earlier
     WHERE earlier.topic = o.topic AND earlier.key = o.key AND earlier.row_id < o.row_id) AS after
FROM outbox AS o
WHERE o.owner = :owner
  AND o.topic <> ALL((:without)::text[])
  AND o.row_id > :after
  AND (
      o.created_at <= clock_timestamp() - make_interval(secs => :older_than_seconds)
      OR o.created_at > clock_timestamp()
  )
  AND NOT EXISTS (SELECT 1 FROM unnest((:known)::bigint[]) AS k (row_id) WHERE k.row_id = o.row_id)
ORDER BY o.row_id
LIMIT :limit;

-- name: register(owner, lease_seconds, name)
-- I live, until the lease ends or is renewed.
INSERT INTO outbox_owners (owner, lease_until, name)
VALUES (:owner, clock_timestamp() + make_interval(secs => :lease_seconds), :name)
ON CONFLICT (owner) DO UPDATE SET lease_until = excluded.lease_until, name = excluded.name
RETURNING pg_postmaster_start_time();

-- name: beat(lease_seconds, owner)
-- Renew. No row means that somebody found the lease run out: the rows may be somebody else's by now. A lease that ran
-- out unnoticed is as good as new.
UPDATE outbox_owners SET lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
WHERE owner = :owner RETURNING owner;

-- name: release(owner)!
-- I stop: others need not wait for the lease to end.
DELETE FROM outbox_owners WHERE owner = :owner;

-- name: pending()
-- For health and metrics.
SELECT
    count(*) AS rows,
    coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS oldest_age_seconds
FROM outbox;
