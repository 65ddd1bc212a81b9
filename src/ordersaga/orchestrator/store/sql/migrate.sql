-- Bringing the schema up to date; see `migrate.py`.

-- name: lock(name)
-- Until the transaction ends, however it ends: whoever else migrates this schema waits here.
SELECT pg_advisory_xact_lock(hashtextextended(:name, 0));

-- name: give_up_after(timeout)
-- For locks on tables: a migration gives up rather than queue in front of running workers. And in the middle of a long
-- statement the server looks whether we are still there: of a process that was killed it keeps no lock.
SELECT set_config('lock_timeout', :timeout, true), set_config('client_connection_check_interval', '1s', true);

-- name: how_to_create(schema)
-- The statement that makes the schema, unless it is there: an account need not be allowed to create what exists.
SELECT 'CREATE SCHEMA ' || quote_ident(:schema) WHERE to_regnamespace(quote_ident(:schema)) IS NULL;

-- name: enter(schema)
-- Everything that follows in this transaction is in the schema.
SELECT set_config('search_path', quote_ident(:schema), true);

-- name: create_record()!
-- What was applied, and when.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version int PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: applied()
-- The numbers of what was applied.
SELECT version FROM schema_migrations;

-- name: record(version, name)!
-- In the same transaction as the migration itself.
INSERT INTO schema_migrations (version, name) VALUES (:version, :name);
