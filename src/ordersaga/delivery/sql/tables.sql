-- The outbox of one schema: records that were committed with a change of state and are not yet known to be in the log
-- of the bus. Included by whoever owns the schema; names are unqualified, so the search path decides where the tables live.

CREATE TABLE outbox (
    row_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner uuid NOT NULL,
    topic text NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    headers bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    -- A row lives for milliseconds and leaves a dead one: vacuum by their number, since a share of a table that is
    -- nearly empty says nothing.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    -- The same for inserts without deletes (an outage of the bus).
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000,
    -- Statistics of a table that is empty a moment later mislead the planner; a rare look is enough.
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000,
    -- Vacuum without pauses: the table is small, and each dead row left makes every look at a lane slower.
    autovacuum_vacuum_cost_delay = 0
);

-- The last row of a lane, looked up for every row written.
CREATE INDEX outbox_lane ON outbox (topic, key, row_id);

-- The rows of one owner, oldest first: for taking over, and for finding rows that their owner does not remember.
CREATE INDEX outbox_owner ON outbox (owner, row_id);

-- One row per living process that publishes. Who has no row here is dead: its outbox rows may be taken by anyone.
CREATE TABLE outbox_owners (
    owner uuid PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    name text NOT NULL
) WITH (
    -- A few rows, each updated every few seconds: leave room on the page, so that an update touches no index.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500
);
