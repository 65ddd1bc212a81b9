-- What every participant's schema holds beside its own rows.

-- Answers by the id of the command: whoever asks again is answered the same.
CREATE TABLE IF NOT EXISTS answers (
    message_id uuid PRIMARY KEY,
    topic text NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    headers bytea NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Records that could not be used.
CREATE TABLE IF NOT EXISTS dead_letters (
    topic text NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, "offset")
);
