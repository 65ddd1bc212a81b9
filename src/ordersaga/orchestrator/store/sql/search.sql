-- Searching. `page` and `count` are put together: {looked} is one of the sources, {filter} the filter; {way} and {back}
-- are ASC or DESC. A source has one bound on each side: of two, a comparison of pairs begins at the one that is written
-- first, however far that is from the other.

-- name: page(limit)
-- How many were looked at, the last of these, then what was found; one row with nulls where nothing was.
WITH looked AS MATERIALIZED ({looked}),
found AS (SELECT s.id, s.saga, s.version, s.state FROM ({filter}) s ORDER BY s.id {way} LIMIT :limit)
SELECT (SELECT count(*) FROM looked), (SELECT id FROM looked ORDER BY id {back} LIMIT 1),
    f.id, f.saga, f.version, f.state, p.data
FROM (VALUES (1)) always LEFT JOIN found f ON true LEFT JOIN saga_personal p ON p.saga_id = f.id
ORDER BY f.id {way};

-- name: count()
-- How many were looked at, and how many of these are what is searched for.
WITH looked AS MATERIALIZED ({looked})
SELECT (SELECT count(*) FROM looked), (SELECT count(*) FROM ({filter}) s);

-- name: by_customer(customer_id, first, before, looked_max)
-- Source.
SELECT s.* FROM saga_personal o JOIN sagas s ON s.id = o.saga_id
WHERE o.customer_id = :customer_id AND o.saga_id >= :first AND o.saga_id < :before
ORDER BY o.saga_id {way} LIMIT :looked_max;

-- name: by_order(order_id, first, before, looked_max)
-- Source.
SELECT s.* FROM sagas s WHERE s.order_id = :order_id AND s.id >= :first AND s.id < :before
ORDER BY s.id {way} LIMIT :looked_max;

-- name: by_payment(payment_id, first, before, looked_max)
-- Source.
SELECT s.* FROM sagas s WHERE s.payment_id = :payment_id AND s.id >= :first AND s.id < :before
ORDER BY s.id {way} LIMIT :looked_max;

-- name: by_reason(reason, first, before, looked_max)
-- Source.
SELECT s.* FROM sagas s WHERE s.reason = :reason AND s.id >= :first AND s.id < :before
ORDER BY s.id {way} LIMIT :looked_max;

-- name: by_attention(first, before, looked_max)
-- Source.
SELECT s.* FROM sagas s WHERE s.attention AND NOT s.resolved AND s.id >= :first AND s.id < :before
ORDER BY s.id {way} LIMIT :looked_max;

-- name: by_status(statuses, first, before, looked_max)
-- Source. Of each status so many, from its own part of the index. The comparison of pairs and the order by both columns
-- leave no other index to choose: by the ids alone, the few sagas of a rare status would be looked for among all.
SELECT s.* FROM unnest((:statuses)::text[]) wanted (status) CROSS JOIN LATERAL (
    SELECT * FROM sagas one
    WHERE (one.status, one.id) >= (wanted.status, (:first)::uuid) AND (one.status, one.id) < (wanted.status, (:before)::uuid)
    ORDER BY one.status {way}, one.id {way} LIMIT :looked_max
) s ORDER BY s.id {way} LIMIT :looked_max;

-- name: by_id(first, before, looked_max)
-- Source.
SELECT s.* FROM sagas s WHERE s.id >= :first AND s.id < :before
ORDER BY s.id {way} LIMIT :looked_max;

-- name: filter(statuses, saga, step, reason, order_id, payment_id, attention, customer_id, text)
-- What is not given holds for all.
SELECT s.* FROM looked s
WHERE ((:statuses)::text[] IS NULL OR s.status = ANY ((:statuses)::text[]))
    AND ((:saga)::text IS NULL OR s.saga = :saga)
    AND ((:step)::text IS NULL OR s.step = :step)
    AND ((:reason)::text IS NULL OR s.reason = :reason)
    AND ((:order_id)::text IS NULL OR s.order_id = :order_id)
    AND ((:payment_id)::text IS NULL OR s.payment_id = :payment_id)
    AND (NOT :attention OR s.attention AND NOT s.resolved)
    AND ((:customer_id)::text IS NULL OR EXISTS (
        SELECT FROM saga_personal p WHERE p.saga_id = s.id AND p.customer_id = :customer_id))
    AND ((:text)::text IS NULL OR position(lower(:text) IN lower(concat_ws(' ', s.state ->> 'explanation',
        s.state -> 'stuck' ->> 'problem', s.state ->> 'attention',
        jsonb_path_query_array(s.state, '$.steps.*.refusal')::text))) > 0);
