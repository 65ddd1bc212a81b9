-- What became of a dead letter, and by whom.

ALTER TABLE dead_letters
    ADD COLUMN settled_at timestamptz,
    ADD COLUMN settled_as text CHECK (settled_as IN ('replayed', 'discarded')),
    ADD COLUMN settled_by text,
    ADD COLUMN settled_why text;
COMMENT ON COLUMN dead_letters.settled_at IS 'Until then it is open: counted, listed first, tried again where its saga''s version was unknown.';

CREATE INDEX dead_letters_open ON dead_letters (reason, id) WHERE settled_at IS NULL;
COMMENT ON INDEX dead_letters_open IS 'What is open, by its reason.';
