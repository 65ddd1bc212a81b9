-- Sagas that have long ended: moved out of the hot tables, and back.

-- name: lock_old(age, after, limit)
-- Nothing is waited for. Whoever changed one of them meanwhile made it young, which is looked at again with the lock.
SELECT id FROM sagas s
WHERE id > :after AND id < first_id_of(statement_timestamp() - (:age)::interval)
    AND updated_at < statement_timestamp() - (:age)::interval
    AND (status IN ('COMPENSATED', 'CANCELLED') OR status = 'FAILED' AND resolved
        OR status = 'COMPLETED' AND (state ? 'accepted' OR state ? 'committed'))
    AND (resolved OR NOT attention)
    AND NOT EXISTS (SELECT FROM deadlines d WHERE d.saga_id = s.id)
ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: read(ids)
-- Whole, as the tables have it. A statement of its own, after the locks are held.
SELECT s.id, s.saga, s.version, s.status, s.order_id, s.payment_id, p.customer_id, to_jsonb(s), to_jsonb(p), h.entries
FROM sagas s
LEFT JOIN saga_personal p ON p.saga_id = s.id
LEFT JOIN LATERAL (
    SELECT jsonb_agg(to_jsonb(one) ORDER BY revision) entries FROM saga_history one WHERE one.saga_id = s.id
) h ON true
WHERE s.id = ANY (:ids);

-- name: add(ids, sagas, versions, statuses, order_ids, payment_ids, customers, states, histories, personals)!
-- Into the archive.
INSERT INTO archive (
    saga_id, saga, version, status, order_id, payment_id, customer_id, state, history, personal
)
SELECT * FROM unnest(
    :ids, :sagas, :versions, :statuses, :order_ids, :payment_ids, :customers, :states, :histories, :personals
);

-- name: remove(ids)!
-- Out of the hot tables. History stays until its week is dropped.
DELETE FROM sagas WHERE id = ANY (:ids);

-- name: remove_weekless(ids)!
-- Their history in the partition that is never dropped: of what came back when its week was gone, or stayed behind.
DELETE FROM saga_history_other WHERE saga_id = ANY (:ids);

-- name: keep_still()
-- While a transaction looks into the archive nobody moves sagas there: what it finds in neither place would else be on
-- its way. Movers take it alone, before all else.
SELECT pg_advisory_xact_lock_shared(hashtextextended(current_schema() || ' archive', 0));

-- name: keep_for_me()
-- See above.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' archive', 0));

-- name: take(ids)
-- Out of the archive. Two that want the same go one after the other, and the second finds it in the hot tables.
DELETE FROM archive WHERE saga_id = ANY (:ids)
RETURNING saga_id, saga, version, status, order_id, payment_id, archived_at, state, history, personal, file, block, digest,
    customer_id;

-- name: with_its_order(id)
-- One that is here, and what else is here of its order.
SELECT saga_id FROM archive WHERE saga_id = :id
UNION
SELECT o.saga_id FROM archive one JOIN archive o ON o.order_id = one.order_id WHERE one.saga_id = :id;

-- name: put_back(rows)!
-- The saga itself.
INSERT INTO sagas
SELECT back.* FROM unnest(:rows) one (row), jsonb_populate_record(null::sagas, one.row) back;

-- name: put_back_personal(rows)!
-- What belongs to a person.
INSERT INTO saga_personal
SELECT back.* FROM unnest(:rows) one (row), jsonb_populate_record(null::saga_personal, one.row) back;

-- name: put_back_history(rows)!
-- What is still there is the same.
INSERT INTO saga_history
SELECT back.* FROM unnest(:rows) one (row), jsonb_populate_recordset(null::saga_history, one.row) back
ON CONFLICT (saga_id, revision) DO NOTHING;

-- name: remember_lines(files, blocks, ids, customers)!
-- What came back from a file is in that file still.
INSERT INTO archive_stale (file, block, saga_id, customer_id) SELECT * FROM unnest(:files, :blocks, :ids, :customers)
ON CONFLICT DO NOTHING;

-- name: page(before, limit)
-- Newest first, and the file that each is in.
SELECT a.saga_id, a.saga, a.version, a.status, a.order_id, a.payment_id, a.archived_at, f.name
FROM archive a LEFT JOIN archive_files f ON f.id = a.file
WHERE a.saga_id < :before ORDER BY a.saga_id DESC LIMIT :limit;

-- name: to_check(after, limit)
-- Whole, in the order of ids, without those in files.
SELECT saga_id, saga, version, status, state, history, personal FROM archive
WHERE file IS NULL AND saga_id > :after ORDER BY saga_id LIMIT :limit;

-- name: knows(order_id, payment_id)
-- Whether there is one with the order or the payment.
SELECT EXISTS (SELECT FROM archive WHERE order_id = (:order_id)::text)
    OR EXISTS (SELECT FROM archive WHERE payment_id = (:payment_id)::text);

-- name: get(id)
-- One, compressed, or where it is.
SELECT saga_id, saga, version, status, order_id, payment_id, archived_at, state, history, personal, file, block, digest
FROM archive WHERE saga_id = :id;

-- name: forget(age, limit)
-- For good; which ones, oldest in the archive first. Files are forgotten as a whole.
DELETE FROM archive WHERE saga_id IN (
    SELECT saga_id FROM archive WHERE file IS NULL AND archived_at < statement_timestamp() - (:age)::interval
    ORDER BY archived_at, saga_id LIMIT :limit
) RETURNING saga_id;

-- name: forget_history(ids)!
-- And what is left of them in a week that others keep: nobody would find it any more.
DELETE FROM saga_history WHERE saga_id = ANY (:ids);

-- name: weeks(age)
-- Weeks of history that ended longer ago than that, with their bounds.
SELECT c.relname, first_id_of(week), first_id_of(week + interval '168 hours')
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (
    SELECT to_timestamp(right(c.relname, 8) || ' +00', 'YYYYMMDD TZH') week WHERE c.relname ~ '^saga_history_[0-9]{8}$'
) named
WHERE i.inhparent = 'saga_history'::regclass AND week + interval '168 hours' < statement_timestamp() - (:age)::interval
ORDER BY c.relname;

-- name: drop_week(name, first, past, most)
-- Whether it was dropped; see the function.
SELECT drop_history_week(:name, :first, :past, :most);

-- name: archived_by_id(first, before, looked_max)
-- {way} is ASC or DESC.
SELECT saga_id, saga, version, status, order_id, payment_id, archived_at, state, history, personal, file, block, digest
FROM archive WHERE saga_id >= :first AND saga_id < :before
ORDER BY saga_id {way} LIMIT :looked_max;

-- name: archived_by_order(order_id, first, before, looked_max)
-- {way} is ASC or DESC.
SELECT saga_id, saga, version, status, order_id, payment_id, archived_at, state, history, personal, file, block, digest
FROM archive WHERE saga_id >= :first AND saga_id < :before AND order_id = :order_id
ORDER BY saga_id {way} LIMIT :looked_max;

-- name: archived_by_customer(customer_id, first, before, looked_max)
-- {way} is ASC or DESC.
SELECT saga_id, saga, version, status, order_id, payment_id, archived_at, state, history, personal, file, block, digest
FROM archive WHERE saga_id >= :first AND saga_id < :before AND customer_id = :customer_id
ORDER BY saga_id {way} LIMIT :looked_max;
