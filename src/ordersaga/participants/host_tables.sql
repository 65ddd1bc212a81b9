-- What every participant's schema holds beside its own rows.

-- Answers by the id of the command: whoever asks again is answered the same.
CREATE TABLE IF NOT EXISTS answers (
    message_id uuid PRIMARY KEY,
    -- A digest of what was asked, to notice the same id on another command.
    asked bytea NOT NULL,
    topic text NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    headers bytea NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- By their age, to forget the oldest. CREATE INDEX keeps writers out even where the index is there, so it is not asked
-- then.
DO $$ BEGIN
    IF to_regclass('answers_answered_at') IS NULL THEN
        CREATE INDEX answers_answered_at ON answers (answered_at);
    END IF;
END $$;

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

-- What people did by hand: who, as what, and why. Never changed, never deleted.
CREATE TABLE IF NOT EXISTS acts (
    act_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL,
    verb text NOT NULL,
    actor text NOT NULL,
    role text NOT NULL,
    reason text NOT NULL,
    acted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- The acts on one row, in order.
DO $$ BEGIN
    IF to_regclass('acts_key') IS NULL THEN
        CREATE INDEX acts_key ON acts (key, act_id);
    END IF;
END $$;
