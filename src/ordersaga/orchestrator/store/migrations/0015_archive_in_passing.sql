-- What the archive does beside the running service takes a moment, however much is in it.

-- A week of history is dropped when nobody reads it, or an hour later: whoever waits for its lock keeps all writers of
-- history waiting behind it.
ALTER FUNCTION drop_history_week(text, uuid, uuid, int) SET lock_timeout = '200ms';

CREATE INDEX archive_age ON archive (archived_at, saga_id) WHERE file IS NULL;
COMMENT ON INDEX archive_age IS 'What goes into a file next, or is forgotten.';
