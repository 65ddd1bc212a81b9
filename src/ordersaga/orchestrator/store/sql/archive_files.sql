-- Files of the archive. See `store.filing`.

-- name: keep_exports_apart()
-- Until this transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' archive files', 0));

-- name: begin_export(name, seconds)!
-- Nothing where another is at it.
INSERT INTO archive_leftovers (name, export, due_at)
SELECT :name, true, clock_timestamp() + :seconds * interval '1 second'
WHERE NOT EXISTS (SELECT FROM archive_leftovers WHERE export AND due_at > clock_timestamp());

-- name: begin_rewrite(name, seconds)!
-- A file that does not count yet.
INSERT INTO archive_leftovers (name, due_at) VALUES (:name, clock_timestamp() + :seconds * interval '1 second');

-- name: counts_now(name)!
-- The one that was begun; nothing where it took too long and was given up.
DELETE FROM archive_leftovers WHERE name = :name;

-- name: counts_no_more(name)!
-- To be taken away.
INSERT INTO archive_leftovers (name, due_at) VALUES (:name, clock_timestamp()) ON CONFLICT (name) DO NOTHING;

-- name: give_up(name)!
-- One that was begun.
UPDATE archive_leftovers SET export = false, due_at = clock_timestamp() WHERE name = :name;

-- name: leftovers()
-- Locked, so that whoever wrote one knows whether it counts.
SELECT name FROM archive_leftovers WHERE due_at <= clock_timestamp() ORDER BY name LIMIT 100 FOR UPDATE SKIP LOCKED;

-- name: is_writing()
-- Whether somebody writes a file at this moment.
SELECT EXISTS (SELECT FROM archive_leftovers WHERE export);

-- name: forget_leftovers(names)!
-- They are gone.
DELETE FROM archive_leftovers WHERE name = ANY (:names);

-- name: to_file(age, after, limit)
-- What is in no file yet, in the order of ids, and which version of its row this is. Of what has been in the archive for
-- longest, as many as a file holds: that is found without a look at what came later.
WITH oldest AS MATERIALIZED (
    SELECT saga_id FROM archive WHERE file IS NULL AND archived_at <= statement_timestamp() - (:age)::interval
    ORDER BY archived_at, saga_id LIMIT 5000
)
SELECT a.saga_id, a.saga, a.version, a.status, a.order_id, a.payment_id, a.archived_at, a.state, a.history, a.personal, a.xmin::text
FROM oldest JOIN archive a ON a.saga_id = oldest.saga_id
WHERE a.saga_id > :after AND a.file IS NULL
ORDER BY a.saga_id LIMIT :limit;

-- name: add_file(name, sagas, size_bytes, sha256, blocks, first_id, last_id, newest_at)
-- Its id.
INSERT INTO archive_files (name, sagas, size_bytes, sha256, blocks, first_id, last_id, newest_at)
VALUES (:name, :sagas, :size_bytes, :sha256, :blocks, :first_id, :last_id, :newest_at) RETURNING id;

-- name: leave_to_file(file, ids, versions, blocks, digests)!
-- The rows as they were read: one that was changed meanwhile is left as it is, and the count tells.
UPDATE archive a SET
    state = NULL, history = NULL, personal = NULL, file = :file, block = v.block, digest = v.digest
FROM unnest(:ids, :versions, :blocks, :digests) v (saga_id, version, block, digest)
WHERE a.saga_id = v.saga_id AND a.file IS NULL AND a.xmin::text = v.version;

-- name: files(ids)
-- Where they are.
SELECT id, name, blocks FROM archive_files WHERE id = ANY (:ids);

-- name: hold_files(ids)
-- The same, and nobody replaces them until the end of this transaction.
SELECT id, name, blocks FROM archive_files WHERE id = ANY (:ids) ORDER BY id FOR SHARE;

-- name: all_files()
-- In the order of what they hold.
SELECT id, name, sagas, size_bytes, sha256, blocks, first_id, last_id, newest_at, written_at
FROM archive_files ORDER BY first_id, id;

-- name: one_file(id)
-- Whole.
SELECT id, name, sagas, size_bytes, sha256, blocks, first_id, last_id, newest_at, written_at FROM archive_files WHERE id = :id;

-- name: lines_of(file)
-- Which sagas are read from it.
SELECT saga_id, saga, version, status, block, digest FROM archive WHERE file = :file ORDER BY saga_id;

-- name: files_of(customer)
-- Which ones hold something of theirs.
SELECT DISTINCT file FROM (
    SELECT file FROM archive WHERE customer_id = :customer AND file IS NOT NULL
    UNION ALL SELECT file FROM archive_stale WHERE customer_id = :customer
) one ORDER BY 1;

-- name: theirs_in(file, customer)
-- Lines to write anew.
SELECT saga_id, block, digest FROM archive WHERE file = :file AND customer_id = :customer;

-- name: stale_in(file)
-- Lines to leave out.
SELECT saga_id, block FROM archive_stale WHERE file = :file;

-- name: lock_file(id, name)
-- Nothing where it was replaced meanwhile.
SELECT id FROM archive_files WHERE id = :id AND name = :name FOR UPDATE;

-- name: replace_file(id, name, sagas, size_bytes, sha256, blocks)!
-- By one that was written anew.
UPDATE archive_files SET name = :name, sagas = :sagas, size_bytes = :size_bytes, sha256 = :sha256, blocks = :blocks,
    written_at = clock_timestamp()
WHERE id = :id;

-- name: erase_in_file(file, ids, was, digests)!
-- Whose lines were written anew. Of one that has come back meanwhile the line is stale.
UPDATE archive a SET customer_id = NULL, digest = v.digest
FROM unnest(:ids, :was, :digests) v (saga_id, was, digest)
WHERE a.saga_id = v.saga_id AND a.file = :file AND a.digest = v.was;

-- name: forget_stale(file, ids)!
-- They were left out.
DELETE FROM archive_stale WHERE file = :file AND saga_id = ANY (:ids);

-- name: file_to_forget(age)
-- The oldest that is old enough as a whole.
SELECT id, name FROM archive_files WHERE newest_at < statement_timestamp() - (:age)::interval
ORDER BY newest_at, id LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: forget_sagas_of(file)
-- For good; which ones.
DELETE FROM archive WHERE file = :file RETURNING saga_id;

-- name: forget_file(id)!
-- Nothing is read from it any more.
DELETE FROM archive_files WHERE id = :id;

-- name: count_filed()
-- How many sagas are in files.
SELECT coalesce(sum(sagas), 0)::bigint FROM archive_files;

-- name: all_leftovers()
-- Files that count not yet or no more.
SELECT name FROM archive_leftovers;
