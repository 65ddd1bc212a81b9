-- Who falls behind: for processes that take orders and read no answers themselves.

CREATE TABLE behind (
    process text PRIMARY KEY,
    seconds double precision NOT NULL CHECK (seconds >= 0),
    at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE behind IS 'How long what comes now waits at a process until it is read, and when it said so; counts for five seconds.';
