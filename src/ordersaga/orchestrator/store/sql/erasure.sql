-- What belongs to one person, taken out of every table.

-- name: sagas_of(customer)
-- Theirs, locked, and whether each is under way still: it needs what is known of them.
SELECT s.id, s.status IN ('STARTED', 'COMPENSATING', 'CANCELLING') OR EXISTS (
    SELECT FROM deadlines d WHERE d.saga_id = s.id
), s.state
FROM sagas s JOIN saga_personal p ON p.saga_id = s.id
WHERE p.customer_id = :customer ORDER BY s.id FOR UPDATE OF s;

-- name: erase_personal(ids)!
-- Live ones.
DELETE FROM saga_personal WHERE saga_id = ANY (:ids);

-- name: erase_states(ids, states)!
-- What they said, and what was said of them.
UPDATE sagas s SET state = v.state FROM unnest(:ids, :states) v (saga_id, state) WHERE s.id = v.saga_id;

-- name: told_in_history(ids)
-- Where somebody asked for something, or a service refused.
SELECT saga_id, revision, body FROM saga_history
WHERE saga_id = ANY (:ids) AND (body ? 'actor' OR body -> 'event' ? 'error');

-- name: erase_history(sagas, ids, revisions, bodies)!
-- These entries. Named twice, so that no other week is looked into.
UPDATE saga_history h SET body = v.body
FROM unnest(:ids, :revisions, :bodies) v (saga_id, revision, body)
WHERE h.saga_id = ANY (:sagas) AND h.saga_id = v.saga_id AND h.revision = v.revision;

-- name: erase_audit(customer)!
-- Where somebody stepped in under their id.
UPDATE audit SET actor = 'erased', reason = '' WHERE actor = :customer OR starts_with(actor, :customer || ' (');

-- name: archived(customer)
-- Theirs in the archive, locked.
SELECT saga_id, state, history FROM archive WHERE customer_id = :customer AND file IS NULL ORDER BY saga_id FOR UPDATE;

-- name: erase_archived(ids, states, histories)!
-- Without what belongs to a person.
UPDATE archive a SET personal = NULL, customer_id = NULL, state = v.state, history = v.history
FROM unnest(:ids, :states, :histories) v (saga_id, state, history) WHERE a.saga_id = v.saga_id;

-- name: forget_keys(principal, under_way)!
-- Under which names they asked; not for what is under way, lest a repeat of the request order twice.
DELETE FROM idempotency_keys WHERE principal = :principal AND (saga_id = ANY (:under_way)) IS NOT TRUE;

-- name: personal_of(customer)
-- What belongs to them, of live sagas.
SELECT saga_id, data FROM saga_personal WHERE customer_id = :customer;

-- name: letters_with(needles, after, looked_max)
-- How many were looked at, the last of these, then those that may be theirs; one row with nulls where none is.
WITH looked AS MATERIALIZED (
    SELECT id, key, value, headers FROM dead_letters WHERE id > :after ORDER BY id LIMIT :looked_max
)
SELECT (SELECT count(*) FROM looked), (SELECT max(id) FROM looked), f.id, f.key, f.value, f.headers
FROM (VALUES (1)) always LEFT JOIN (
    SELECT l.* FROM looked l WHERE EXISTS (SELECT FROM unnest(:needles) n (needle)
        WHERE position(n.needle IN l.key) > 0 OR position(n.needle IN l.value) > 0 OR position(n.needle IN l.headers) > 0)
) f ON true;

-- name: orphans_with(needles, after, looked_max)
-- The same.
WITH looked AS MATERIALIZED (
    SELECT id, value FROM orphans WHERE id > :after ORDER BY id LIMIT :looked_max
)
SELECT (SELECT count(*) FROM looked), (SELECT max(id) FROM looked), f.id, NULL::bytea, f.value, NULL::bytea
FROM (VALUES (1)) always LEFT JOIN (
    SELECT l.* FROM looked l WHERE EXISTS (SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN l.value) > 0)
) f ON true;

-- name: mark_letters(ids, principal)!
-- They are theirs.
UPDATE dead_letters SET erased_for = :principal WHERE id = ANY (:ids);

-- name: mark_orphans(ids, principal)!
-- The same.
UPDATE orphans SET erased_for = :principal WHERE id = ANY (:ids);

-- name: forget_letters(principal)!
-- Records that were set aside, and are seen to.
DELETE FROM dead_letters WHERE erased_for = :principal AND settled_at IS NOT NULL;

-- name: forget_orphans(principal)!
-- Answers for nobody, that somebody has seen to.
DELETE FROM orphans WHERE erased_for = :principal AND settled_at IS NOT NULL;

-- name: left_over(principal)
-- What somebody waits for still: records set aside and answers for nobody that are not seen to.
SELECT (SELECT count(*) FROM dead_letters WHERE erased_for = :principal AND settled_at IS NULL)
    + (SELECT count(*) FROM orphans WHERE erased_for = :principal AND settled_at IS NULL);

-- name: passing(needles)
-- What may be theirs of what goes by itself: events that came too early, messages on their way.
SELECT e.value FROM early_events e
WHERE EXISTS (SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN e.value) > 0)
UNION ALL
SELECT o.value FROM outbox o
WHERE EXISTS (SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN o.value) > 0);

-- name: remember(actor, why, outcome)!
-- That it was done, by whom, and why; not for whom.
INSERT INTO audit (actor, role, verb, reason, outcome) VALUES (:actor, 'operator', 'erase', :why, :outcome);
