-- What processes tell each other.

-- name: tell(participants, commands, answered)
-- Silences of this process since it last told; for each, whether there was an answer before them.
INSERT INTO silences AS known (participant, commands, since)
SELECT told.participant, told.commands, statement_timestamp()
FROM unnest((:participants)::text[], (:commands)::int[]) told (participant, commands)
ORDER BY told.participant
ON CONFLICT (participant) DO UPDATE SET
    commands = excluded.commands + CASE WHEN known.participant = ANY ((:answered)::text[]) THEN 0 ELSE known.commands END,
    since = CASE
        WHEN known.commands = 0 OR known.participant = ANY ((:answered)::text[]) THEN excluded.since ELSE known.since
    END
RETURNING participant;

-- name: silences()
-- Who answers nobody.
SELECT participant, commands, since FROM silences WHERE commands > 0;

-- name: tell_behind(process, seconds)
-- How far this process is behind; those that have said nothing for a minute are forgotten, also those that said it
-- before the clock went back.
WITH forgotten AS (
    DELETE FROM behind WHERE process IN (
        SELECT process FROM behind WHERE abs(extract(epoch FROM clock_timestamp() - at)) > 60 AND process <> :process
        FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO behind (process, seconds, at) VALUES (:process, :seconds, clock_timestamp())
ON CONFLICT (process) DO UPDATE SET seconds = excluded.seconds, at = excluded.at
RETURNING process;

-- name: behind(process, behind_for_seconds)
-- How far the others are behind, at most. What was said later than now was said before the clock went back.
SELECT coalesce(max(seconds), 0) FROM behind
WHERE process <> :process AND abs(extract(epoch FROM clock_timestamp() - at)) < :behind_for_seconds;

-- name: under_way(most, shown, process, behind_for_seconds)
-- Whether orders are taken, and how much there is to do: counted as far as matters.
SELECT
    (SELECT count(*) FROM (SELECT FROM sagas WHERE status = 'STARTED' LIMIT :most) started),
    (SELECT count(*) FROM (SELECT FROM sagas WHERE status IN ('COMPENSATING', 'CANCELLING') LIMIT :most) going_back),
    (SELECT count(*) FROM (SELECT FROM outbox LIMIT :most) waiting),
    (SELECT coalesce(max(seconds), 0) FROM behind
     WHERE process <> :process AND abs(extract(epoch FROM clock_timestamp() - at)) < :behind_for_seconds),
    (SELECT count(*) FROM (SELECT FROM sagas WHERE status = 'FAILED' AND NOT resolved LIMIT :shown) failed),
    (SELECT count(*) FROM (SELECT FROM sagas WHERE attention AND NOT resolved LIMIT :shown) attention),
    (SELECT count(*) FROM (SELECT FROM dead_letters WHERE settled_at IS NULL LIMIT :shown) letters),
    (SELECT count(*) FROM (SELECT FROM orphans WHERE settled_at IS NULL LIMIT :shown) strays),
    (SELECT count(*) FROM (SELECT FROM deadlines WHERE failing_since IS NOT NULL LIMIT :shown) failing),
    newest.taken, newest.by, newest.why, newest.at,
    pause.paused, pause.by, pause.why, pause.at, extract(epoch FROM clock_timestamp() - pause.at)
FROM (VALUES (1)) one (row)
LEFT JOIN LATERAL (SELECT * FROM admission ORDER BY at DESC LIMIT 1) newest ON true
LEFT JOIN LATERAL (SELECT * FROM consumption ORDER BY at DESC LIMIT 1) pause ON true;

-- name: set_admission(taken, by, role, why)
-- From now on; after the word before, also where the clock went back since.
WITH noted AS (
    INSERT INTO audit (actor, role, verb, reason, outcome)
    VALUES (:by, :role, CASE WHEN :taken THEN 'resume orders' ELSE 'stop orders' END, :why, 'done')
)
INSERT INTO admission (at, taken, by, why)
SELECT greatest(clock_timestamp(), max(at) + interval '1 microsecond'), :taken, :by, :why FROM admission RETURNING at;

-- name: set_consumption(paused, by, role, why)
-- From now on; after the word before, also where the clock went back since.
WITH noted AS (
    INSERT INTO audit (actor, role, verb, reason, outcome)
    VALUES (:by, :role, CASE WHEN :paused THEN 'pause consumption' ELSE 'resume consumption' END, :why, 'done')
)
INSERT INTO consumption (at, paused, by, why)
SELECT greatest(clock_timestamp(), max(at) + interval '1 microsecond'), :paused, :by, :why FROM consumption RETURNING at;
