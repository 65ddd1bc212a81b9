-- What sagas did, hour by hour.

-- name: fold(after, part_max)
-- A part (see `parts.py`), as it lies there: it needs no index. What another folds at this moment is passed over.
WITH mine AS (
    SELECT ctid FROM statistics_added WHERE ctid > coalesce((:after)::tid, '(0,0)') LIMIT :part_max FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM statistics_added WHERE ctid = ANY (ARRAY(SELECT ctid FROM mine))
    RETURNING at, saga, kind, label, count, microseconds
), folded AS (
    INSERT INTO statistics (bucket, saga, kind, label, count, microseconds)
    SELECT date_trunc('hour', at, 'UTC'), saga, kind, label, sum(count), sum(microseconds)
    FROM gone GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (bucket, saga, kind, label)
    DO UPDATE SET count = statistics.count + excluded.count, microseconds = statistics.microseconds + excluded.microseconds
)
SELECT count(*), max(ctid)::text FROM mine;

-- name: hours(since, until, details)
-- Folded or not. Kinds that are details are told of the whole time and not of each hour.
SELECT CASE WHEN kind = ANY (:details) THEN :since ELSE bucket END, saga, kind, label,
    sum(count)::bigint, sum(microseconds)::bigint
FROM (
    SELECT bucket, saga, kind, label, count, microseconds FROM statistics WHERE bucket >= :since AND bucket < :until
    UNION ALL
    SELECT date_trunc('hour', at, 'UTC'), saga, kind, label, count, microseconds FROM statistics_added
    WHERE date_trunc('hour', at, 'UTC') >= :since AND date_trunc('hour', at, 'UTC') < :until
) one
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

-- name: days(since, until, first_day, last_day, details)
-- The same by the day: whole days, from `first_day` to before `last_day`, and the hours before and after them.
SELECT CASE WHEN kind = ANY (:details) THEN :since ELSE date_trunc('day', bucket, 'UTC') END, saga, kind, label,
    sum(count)::bigint, sum(microseconds)::bigint
FROM (
    SELECT bucket, saga, kind, label, count, microseconds FROM statistics_days
    WHERE bucket >= :first_day AND bucket < :last_day
    UNION ALL
    SELECT bucket, saga, kind, label, count, microseconds FROM statistics
    WHERE bucket >= :since AND bucket < :first_day OR bucket >= :last_day AND bucket < :until
    UNION ALL
    SELECT date_trunc('hour', at, 'UTC'), saga, kind, label, count, microseconds FROM statistics_added
    WHERE date_trunc('hour', at, 'UTC') >= :since AND date_trunc('hour', at, 'UTC') < :until
) one
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;

-- name: failures()
-- By cause, with the newest as examples.
SELECT reason, state -> 'stuck' ->> 'step', state -> 'stuck' ->> 'problem', count(*),
    (array_agg(id ORDER BY id DESC))[1 : 3]
FROM sagas WHERE status = 'FAILED' AND NOT resolved
GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3 LIMIT 50;

-- name: unfolded()
-- What waits to be folded, and for how long the oldest has.
SELECT count(*), coalesce(extract(epoch FROM statement_timestamp() - min(at)), 0)::float8 FROM statistics_added;
