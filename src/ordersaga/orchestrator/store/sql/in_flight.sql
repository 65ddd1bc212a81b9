-- How many sagas are in flight: sums that each transaction adds to, folded every few seconds.

-- name: fold(after, part_max)
-- A part (see `parts.py`), as it lies there. What another folds at this moment is passed over.
WITH mine AS (
    SELECT ctid FROM in_flight_added WHERE ctid > coalesce((:after)::tid, '(0,0)') LIMIT :part_max FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM in_flight_added WHERE ctid = ANY (ARRAY(SELECT ctid FROM mine)) RETURNING status, step, count
), folded AS (
    INSERT INTO in_flight AS kept (status, step, count)
    SELECT status, step, sum(count) FROM gone GROUP BY 1, 2 HAVING sum(count) <> 0 ORDER BY 1, 2
    ON CONFLICT (status, step) DO UPDATE SET count = kept.count + excluded.count
)
SELECT count(*), max(ctid)::text FROM mine;

-- name: counts(looked_max)
-- Folded or not, and since when the oldest has been there. It is looked for among so many of each status, by their ids:
-- where a step has none among them, all of its sagas are younger than those, and the youngest of those is told.
WITH counted AS (
    SELECT status, step, sum(count)::bigint count
    FROM (SELECT status, step, count FROM in_flight UNION ALL SELECT status, step, count FROM in_flight_added) one
    GROUP BY 1, 2 HAVING sum(count) > 0
), oldest AS MATERIALIZED (
    SELECT wanted.status, coalesce(s.step, '') step, s.created_at
    FROM (SELECT DISTINCT status FROM counted) wanted CROSS JOIN LATERAL (
        SELECT step, created_at FROM sagas one
        WHERE one.status = wanted.status ORDER BY one.status, one.id LIMIT :looked_max
    ) s
)
SELECT c.status, nullif(c.step, ''), c.count, extract(epoch FROM statement_timestamp() - coalesce(
    (SELECT min(created_at) FROM oldest o WHERE o.status = c.status AND o.step = c.step),
    (SELECT max(created_at) FROM oldest o WHERE o.status = c.status),
    statement_timestamp()
))::float8
FROM counted c ORDER BY 4 DESC, 1, 2;

-- name: one_counts()
-- One after the other.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' in_flight', 0));

-- name: correct()
-- Counted one by one, and what differs is added: in one statement, which sees the sums of exactly those transactions whose
-- sagas it sees. How much that was.
WITH counted AS (
    SELECT status, coalesce(step, '') step, count(*) count
    FROM sagas WHERE status IN ('STARTED', 'COMPENSATING', 'CANCELLING') GROUP BY 1, 2
    UNION ALL
    SELECT status, step, -sum(count) FROM (
        SELECT status, step, count FROM in_flight UNION ALL SELECT status, step, count FROM in_flight_added
    ) one GROUP BY 1, 2
), added AS (
    INSERT INTO in_flight_added (status, step, count)
    SELECT status, step, sum(count) FROM counted GROUP BY 1, 2 HAVING sum(count) <> 0
    RETURNING count
)
SELECT coalesce(sum(abs(count)), 0)::bigint FROM added;
