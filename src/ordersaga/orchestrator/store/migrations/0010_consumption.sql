-- Whether records are taken in.

CREATE TABLE consumption (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    paused boolean NOT NULL,
    by text NOT NULL,
    why text NOT NULL
);
COMMENT ON TABLE consumption IS 'Whether what the services say is read: the newest row rules, the others say how it was. Append-only.';
