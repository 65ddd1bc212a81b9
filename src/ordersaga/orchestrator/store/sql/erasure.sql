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

-- name: forget_letters(needles)!
-- Records that were set aside, and are seen to.
DELETE FROM dead_letters d USING unnest(:needles) n (needle)
WHERE d.settled_at IS NOT NULL AND (position(n.needle IN d.value) > 0 OR position(n.needle IN d.headers) > 0);

-- name: forget_orphans(needles)!
-- Answers for nobody, that somebody has seen to.
DELETE FROM orphans o USING unnest(:needles) n (needle)
WHERE o.settled_at IS NOT NULL AND position(n.needle IN o.value) > 0;

-- name: left_over(needles)
-- What somebody waits for still: records set aside and answers for nobody that are not seen to, events that came too
-- early, messages on their way.
SELECT
    (SELECT count(*) FROM dead_letters d WHERE d.settled_at IS NULL AND EXISTS (
        SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN d.value) > 0)),
    (SELECT count(*) FROM orphans o WHERE o.settled_at IS NULL AND EXISTS (
        SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN o.value) > 0)),
    (SELECT count(*) FROM early_events e WHERE EXISTS (
        SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN e.value) > 0)),
    (SELECT count(*) FROM outbox o WHERE EXISTS (
        SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN o.value) > 0));

-- name: remember(actor, why, outcome)!
-- That it was done, by whom, and why; not for whom.
INSERT INTO audit (actor, role, verb, reason, outcome) VALUES (:actor, 'operator', 'erase', :why, :outcome);
