-- Orphans that somebody has seen to.

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
