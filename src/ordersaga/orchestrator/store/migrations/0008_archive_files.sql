-- Files of the archive: what is kept of a saga here once the rest of it is in one.

CREATE TABLE archive_files (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    sagas int NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    blocks bigint[] NOT NULL,
    first_id uuid NOT NULL,
    last_id uuid NOT NULL,
    newest_at timestamptz NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE archive_files IS 'Files that count. One that is written anew keeps its id and gets another name.';
COMMENT ON COLUMN archive_files.blocks IS 'Where each block begins, and after the last one where the file ends.';
COMMENT ON COLUMN archive_files.newest_at IS 'When the last of its sagas was archived, for retention.';

CREATE TABLE archive_leftovers (
    name text PRIMARY KEY,
    export boolean NOT NULL DEFAULT false,
    due_at timestamptz NOT NULL
);
COMMENT ON TABLE archive_leftovers IS 'Files that count not yet or no more: from then on whoever comes by takes them away.';

CREATE TABLE archive_stale (
    file int NOT NULL REFERENCES archive_files (id) ON DELETE CASCADE,
    block int NOT NULL,
    saga_id uuid NOT NULL,
    customer_id text,
    PRIMARY KEY (file, saga_id)
);
COMMENT ON TABLE archive_stale IS 'Lines of files whose saga has come back since: erasure has to find them still.';
CREATE INDEX archive_stale_customer ON archive_stale (customer_id) WHERE customer_id IS NOT NULL;
COMMENT ON INDEX archive_stale_customer IS 'Erasure on request.';

-- Only rows that a worker of this version has put into a file have no state.
ALTER TABLE archive
    ALTER COLUMN state DROP NOT NULL,
    ALTER COLUMN history DROP NOT NULL,
    ADD COLUMN file int REFERENCES archive_files (id),
    ADD COLUMN block int,
    ADD COLUMN digest bytea,
    ADD CONSTRAINT archive_is_somewhere CHECK (
        CASE WHEN file IS NULL THEN state IS NOT NULL AND history IS NOT NULL
        ELSE block IS NOT NULL AND digest IS NOT NULL AND state IS NULL AND history IS NULL AND personal IS NULL END
    );
COMMENT ON COLUMN archive.digest IS 'SHA-256 of its line: what is read back from a file is what was written.';
CREATE INDEX archive_by_file ON archive (file, saga_id);
COMMENT ON INDEX archive_by_file IS 'What is in no file yet, oldest first; what is in one.';
