-- Sagas, their history and their deadlines; what is sent; what could not be used. Unqualified names: the search path decides.

CREATE TABLE sagas (
    id uuid PRIMARY KEY,
    saga text NOT NULL,
    version int NOT NULL CHECK (version > 0),
    status text NOT NULL CHECK (
        status IN ('STARTED', 'COMPLETED', 'FAILED', 'COMPENSATING', 'COMPENSATED', 'CANCELLING', 'CANCELLED')
    ),
    step text,
    revision int NOT NULL CHECK (revision > 0),
    order_id text,
    payment_id text,
    reason text,
    attention boolean NOT NULL,
    resolved boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    completed_at timestamptz,
    state jsonb NOT NULL
) WITH (
    -- A saga is updated about six times, mostly without touching an index: room on the page lets those updates stay there.
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05
);
COMMENT ON TABLE sagas IS 'One row per saga: the whole of what is remembered of it (state), and beside it what is searched for.';

CREATE INDEX sagas_order_id ON sagas (order_id) WHERE order_id IS NOT NULL;
COMMENT ON INDEX sagas_order_id IS 'Acceptances and cancels by hand name the order and no saga.';
CREATE INDEX sagas_payment_id ON sagas (payment_id) WHERE payment_id IS NOT NULL;
COMMENT ON INDEX sagas_payment_id IS 'What the payment provider does by itself names the payment and no saga.';
CREATE INDEX sagas_status ON sagas (status, id);
COMMENT ON INDEX sagas_status IS 'Lists by status, newest first (ids grow with time); the few FAILED ones among millions.';
CREATE INDEX sagas_attention ON sagas (id DESC) WHERE attention AND NOT resolved;
COMMENT ON INDEX sagas_attention IS 'What a person should look at, whatever its status.';

CREATE TABLE saga_personal (
    saga_id uuid PRIMARY KEY REFERENCES sagas (id) ON DELETE CASCADE,
    customer_id text NOT NULL,
    data jsonb NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE saga_personal IS 'All that belongs to a person, and nothing else does: deleting a row erases it.';
CREATE INDEX saga_personal_customer ON saga_personal (customer_id, saga_id DESC);
COMMENT ON INDEX saga_personal_customer IS 'The orders of one customer, newest first; erasure on request.';

CREATE TABLE saga_history (
    saga_id uuid NOT NULL,
    revision int NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cause text NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (saga_id, revision)
) PARTITION BY RANGE (saga_id);
COMMENT ON TABLE saga_history IS 'Every transition, append-only. Partitioned by the time in the saga''s id, so that old history is detached and not deleted.';
CREATE TABLE saga_history_other PARTITION OF saga_history DEFAULT;
COMMENT ON TABLE saga_history_other IS 'Sagas outside of all weeks that were made ahead: empty unless a clock was far off.';

-- The smallest version 7 id of a moment.
CREATE FUNCTION first_id_of(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

-- Make the partitions of this week and of some weeks to come; returns how many are new. Anyone may call it at any time;
-- what exists is left alone. A table that is made apart and then attached keeps no writer of history waiting, and takes
-- with it what the default partition already holds of its week.
CREATE FUNCTION make_history_partitions(weeks_ahead int) RETURNS int LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
    this_week timestamptz := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    week timestamptz;
    name text;
    first uuid;
    past uuid;
    made int := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('ordersaga.history_partitions', 0));
    FOR n IN -1 .. weeks_ahead LOOP
        week := this_week + n * interval '168 hours';
        name := 'saga_history_' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        first := first_id_of(week);
        past := first_id_of(week + interval '168 hours');
        LOCK TABLE saga_history_other IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE saga_history INCLUDING ALL)', name);
        EXECUTE format(
            'WITH moved AS (DELETE FROM saga_history_other WHERE saga_id >= %L AND saga_id < %L RETURNING *)'
            ' INSERT INTO %I SELECT * FROM moved', first, past, name
        );
        EXECUTE format('ALTER TABLE saga_history ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, past);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION make_history_partitions(int) IS 'Called by every migration and daily by every service.';

CREATE TABLE deadlines (
    saga_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('command', 'window')),
    due_at timestamptz NOT NULL,
    PRIMARY KEY (saga_id, kind)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE deadlines IS 'When a saga is to be looked at if nothing comes. A row here mirrors what the saga''s own state says.';
CREATE INDEX deadlines_due ON deadlines (due_at);
COMMENT ON INDEX deadlines_due IS 'What is due, oldest first.';

CREATE TABLE idempotency_keys (
    principal text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    saga_id uuid,
    response jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (principal, key)
);
COMMENT ON TABLE idempotency_keys IS 'Requests that may be repeated: the same key and body get the same answer.';
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
COMMENT ON INDEX idempotency_keys_created IS 'Keys are forgotten after a while.';

CREATE TABLE statistics (
    bucket timestamptz NOT NULL,
    saga text NOT NULL,
    kind text NOT NULL,
    label text NOT NULL,
    count bigint NOT NULL DEFAULT 0 CHECK (count >= 0),
    seconds double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket, saga, kind, label)
);
COMMENT ON TABLE statistics IS 'Hourly sums, so that figures over months need no look at the sagas.';

CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    -- As the record says; a topic that was deleted and made again has its offsets a second time.
    timestamp_ms bigint NOT NULL,
    key bytea,
    value bytea,
    headers bytea NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (topic, partition, "offset", timestamp_ms)
);
COMMENT ON TABLE dead_letters IS 'Incoming records that could not be used, whole, with the reason. Delivered again, a record is kept once.';

CREATE TABLE orphans (
    topic text NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    saga_id uuid NOT NULL,
    type text NOT NULL,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, "offset", saga_id)
);
COMMENT ON TABLE orphans IS 'Answers for sagas that nobody knows: never acted upon without an operator.';
CREATE INDEX orphans_saga ON orphans (saga_id);
COMMENT ON INDEX orphans_saga IS 'All that came for one unknown saga.';

CREATE TABLE early_events (
    topic text NOT NULL,
    partition int NOT NULL,
    "offset" bigint NOT NULL,
    reference text NOT NULL,
    value bytea NOT NULL,
    kept_until timestamptz NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);
COMMENT ON TABLE early_events IS 'Events that name an order or payment which no saga knows yet: they can overtake the answer that brings the id.';
CREATE INDEX early_events_reference ON early_events (reference);
COMMENT ON INDEX early_events_reference IS 'What waits for an id, when it is learnt.';
CREATE INDEX early_events_kept_until ON early_events (kept_until);
COMMENT ON INDEX early_events_kept_until IS 'What nobody claimed in time.';

CREATE TABLE archive (
    saga_id uuid PRIMARY KEY,
    saga text NOT NULL,
    version int NOT NULL,
    status text NOT NULL,
    order_id text,
    payment_id text,
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    state bytea NOT NULL,
    history bytea NOT NULL,
    personal bytea
);
COMMENT ON TABLE archive IS 'Sagas that have long ended, compressed; readable by id. Personal data apart, so that it can be erased here too.';
CREATE INDEX archive_order_id ON archive (order_id) WHERE order_id IS NOT NULL;
COMMENT ON INDEX archive_order_id IS 'Late events of archived orders.';
CREATE INDEX archive_payment_id ON archive (payment_id) WHERE payment_id IS NOT NULL;
COMMENT ON INDEX archive_payment_id IS 'Late events of archived payments.';

CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    role text NOT NULL,
    verb text NOT NULL,
    saga_id uuid,
    reason text NOT NULL,
    outcome text NOT NULL
);
COMMENT ON TABLE audit IS 'What operators did, asked for and were refused.';
CREATE INDEX audit_saga ON audit (saga_id, at) WHERE saga_id IS NOT NULL;
COMMENT ON INDEX audit_saga IS 'What was done to one saga.';
