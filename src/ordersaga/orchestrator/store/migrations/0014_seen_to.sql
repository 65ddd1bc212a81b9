-- Orphans that somebody has seen to, and deadlines that fail.

ALTER TABLE orphans
    ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN settled_at timestamptz,
    ADD COLUMN settled_by text,
    ADD COLUMN settled_why text;
COMMENT ON COLUMN orphans.settled_at IS 'When somebody discarded it. Until then it is open: counted and listed.';

CREATE UNIQUE INDEX orphans_id ON orphans (id);
COMMENT ON INDEX orphans_id IS 'Lists, page after page.';
CREATE INDEX orphans_open ON orphans (id) WHERE settled_at IS NULL;
COMMENT ON INDEX orphans_open IS 'What is open.';

-- Deadlines that fail.

ALTER TABLE deadlines ADD COLUMN failing_since timestamptz;
COMMENT ON COLUMN deadlines.failing_since IS 'When it failed for the first time: since then it is put off again and again. None once it is where its saga wants it.';

CREATE INDEX deadlines_failing ON deadlines (failing_since) WHERE failing_since IS NOT NULL;
COMMENT ON INDEX deadlines_failing IS 'Those that fail: seldom any.';
