-- What every participant's schema holds beside its own rows.

-- name: load(keys)
-- The rows of a batch, locked in the order of their keys.
SELECT to_jsonb(rows) FROM rows WHERE key = ANY ((:keys)::text[]) ORDER BY key FOR UPDATE;

-- name: load_due(limit)
-- Timers whose time has come, a bounded batch; those that another process fires are left to it.
SELECT to_jsonb(rows) FROM rows WHERE status = 'STARTED' AND timeout_at <= clock_timestamp()
ORDER BY timeout_at LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: load_order(order_id)
-- The row of one order.
SELECT to_jsonb(rows) FROM rows WHERE order_id = :order_id FOR UPDATE;

-- name: now()
-- The one clock.
SELECT clock_timestamp();

-- name: answers(message_ids)
-- What was answered before.
SELECT message_id, topic, key, value, headers FROM answers WHERE message_id = ANY ((:message_ids)::uuid[]);

-- name: remember(message_ids, topics, keys, values, headers)!
-- Answers, in the transaction of the rows that they tell of.
INSERT INTO answers (message_id, topic, key, value, headers)
SELECT * FROM unnest((:message_ids)::uuid[], (:topics)::text[], (:keys)::bytea[], (:values)::bytea[], (:headers)::bytea[]);

-- name: dead_letter(topic, partition, offset, key, value, reason)!
-- A record that cannot be used; delivered again, it is kept once.
INSERT INTO dead_letters (topic, partition, "offset", key, value, reason)
VALUES (:topic, :partition, :offset, :key, :value, :reason)
ON CONFLICT DO NOTHING;

-- name: inbox(customer_id)
-- What one customer was told, newest first.
SELECT to_jsonb(rows) FROM rows WHERE customer_id = :customer_id ORDER BY received_at DESC;

-- name: save(rows)!
-- All rows of a batch as one document; the columns are the fields of the participant's row.
INSERT INTO rows ({columns}) SELECT {columns} FROM jsonb_populate_recordset(null::rows, (:rows)::jsonb)
ON CONFLICT (key) DO UPDATE SET {updates};

-- name: lock(name)
-- One host at a time makes the tables; the lock ends with the transaction, however that ends.
SELECT pg_advisory_xact_lock(hashtext(:name));

-- name: outbox_table()
-- Whether the outbox is there.
SELECT to_regclass('outbox');

-- name: schema()!
-- The participant's own.
CREATE SCHEMA IF NOT EXISTS {schema};
