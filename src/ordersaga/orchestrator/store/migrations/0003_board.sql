-- What processes tell each other: who answers nobody, and whether orders are taken.

CREATE TABLE silences (
    participant text PRIMARY KEY,
    commands int NOT NULL CHECK (commands >= 0),
    since timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE silences IS 'Commands in a row that a participant has not answered, all processes together; since when.';

CREATE TABLE admission (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    taken boolean NOT NULL,
    by text NOT NULL,
    why text NOT NULL
);
COMMENT ON TABLE admission IS 'Whether new orders are taken: the newest row rules, the others say how it was. Append-only.';
