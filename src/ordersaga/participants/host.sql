-- What every participant asks of its schema. Names in braces are filled in from the participant's row and names.

-- name: load(keys)
-- The rows of a batch by key, or by a name that a command gives them; locked in the order of their keys.
SELECT to_jsonb(rows) FROM rows WHERE key = ANY ((:keys)::text[]){or_named} ORDER BY key FOR UPDATE;

-- name: load_due(limit)
-- Timers whose time has come, a bounded batch; those that another process fires are left to it.
SELECT to_jsonb(rows) FROM rows WHERE status = 'STARTED' AND timeout_at <= clock_timestamp()
ORDER BY timeout_at LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: now()
-- The one clock.
SELECT clock_timestamp();

-- name: answers(message_ids)
-- The one clock, and what was answered before: at least one line. It runs after `load`, so that it sees what those
-- whose locks were waited for have answered.
SELECT clock_timestamp(), a.message_id, a.asked, a.topic, a.key, a.value, a.headers
FROM (VALUES (true)) AS always LEFT JOIN answers AS a ON a.message_id = ANY ((:message_ids)::uuid[]);

-- name: remember(message_ids, asked, topics, keys, values, headers)!
-- Answers, in the transaction of the rows that they tell of.
INSERT INTO answers (message_id, asked, topic, key, value, headers)
SELECT * FROM unnest(
    (:message_ids)::uuid[], (:asked)::bytea[], (:topics)::text[], (:keys)::bytea[], (:values)::bytea[], (:headers)::bytea[]
);

-- name: forget(kept, part_max)
-- A part of the answers that are older than is kept, the oldest first; how many. Those that another host has in hand are
-- left to it.
WITH old AS (
    SELECT ctid FROM answers WHERE answered_at < statement_timestamp() - (:kept)::interval
    ORDER BY answered_at LIMIT :part_max FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM answers WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)) RETURNING true
)
SELECT count(*) FROM gone;

-- name: dead_letter(topic, partition, offset, key, value, reason)!
-- A record that cannot be used; delivered again, it is kept once.
INSERT INTO dead_letters (topic, partition, "offset", key, value, reason)
VALUES (:topic, :partition, :offset, :key, :value, :reason)
ON CONFLICT DO NOTHING;

-- name: acted(key, verb, actor, role, reason)!
-- What a person did, in the transaction of the row that it changed.
INSERT INTO acts (key, verb, actor, role, reason) VALUES (:key, :verb, :actor, :role, :reason);

-- name: inbox(customer_id, limit)
-- What one customer was told, newest first.
SELECT to_jsonb(rows) FROM rows WHERE customer_id = :customer_id ORDER BY received_at DESC, key LIMIT :limit;

-- name: save(rows, known)!
-- All rows of a batch as one document; the columns are the fields of the participant's row. A row that was not there
-- when the batch was loaded and is there now is another host's work: it is left as it is, and missed in the count.
INSERT INTO rows ({columns}) SELECT {columns} FROM jsonb_populate_recordset(null::rows, (:rows)::jsonb)
ON CONFLICT (key) DO UPDATE SET {updates} WHERE rows.key = ANY ((:known)::text[]);

-- name: lock(name)
-- One host at a time makes the tables; the lock ends with the transaction, however that ends.
SELECT pg_advisory_xact_lock(hashtextextended(:name, 0));

-- name: take_time()
-- In this transaction the server ends nothing, however long it takes. One of these settings is not known to every server.
SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN ('statement_timeout', 'transaction_timeout');

-- name: give_up_after(timeout)
-- For locks on tables: those who work queue behind whoever waits for one.
SELECT set_config('lock_timeout', :timeout, true);

-- name: outbox_table()
-- Whether the outbox is there.
SELECT to_regclass('outbox');

-- name: schema()!
-- The participant's own.
CREATE SCHEMA IF NOT EXISTS {schema};
