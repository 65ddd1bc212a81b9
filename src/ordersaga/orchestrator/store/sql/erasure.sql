-- What belongs to one person, taken out of every table.

-- name: sagas_of(customer)
-- Theirs, locked, and whether each is under way still: it needs what is known of them.
SELECT s.id, s.status IN ('STARTED', 'COMPENSATING', 'CANCELLING') OR EXISTS (
    SELECT FROM deadlines d WHERE d.saga_id = s.id
)
FROM sagas s JOIN saga_personal p ON p.saga_id = s.id
WHERE p.customer_id = :customer ORDER BY s.id FOR UPDATE OF s;

-- name: erase_personal(ids)!
-- Live ones.
DELETE FROM saga_personal WHERE saga_id = ANY (:ids);

-- name: erase_requested(ids, customer)!
-- Who asked for a cancel, and in which words: whoever is called a customer there is this one, under whatever name. And
-- so is who gave their id beside the name of a token.
UPDATE sagas SET state = jsonb_set(state, '{requested}', state -> 'requested' || '{"actor": "erased", "why": ""}')
WHERE id = ANY (:ids) AND (
    state -> 'requested' ->> 'role' = 'customer' OR state -> 'requested' ->> 'actor' = :customer
    OR starts_with(state -> 'requested' ->> 'actor', :customer || ' (')
);

-- name: erase_history(ids, customer)!
-- The same.
UPDATE saga_history SET body = body || '{"actor": "erased", "why": ""}'
WHERE saga_id = ANY (:ids) AND (
    body ->> 'role' = 'customer' OR body ->> 'actor' = :customer OR starts_with(body ->> 'actor', :customer || ' (')
);

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

-- name: forget_keys(principal)!
-- Under which names they asked.
DELETE FROM idempotency_keys WHERE principal = :principal;

-- name: forget_letters(needles)!
-- Records that were set aside, and are seen to.
DELETE FROM dead_letters d USING unnest(:needles) n (needle)
WHERE d.settled_at IS NOT NULL AND (position(n.needle IN d.value) > 0 OR position(n.needle IN d.headers) > 0);

-- name: forget_orphans(needles)!
-- Answers for nobody.
DELETE FROM orphans o USING unnest(:needles) n (needle) WHERE position(n.needle IN o.value) > 0;

-- name: left_over(needles)
-- What somebody waits for still: records set aside and not seen to, events that came too early, messages on their way.
SELECT
    (SELECT count(*) FROM dead_letters d WHERE d.settled_at IS NULL AND EXISTS (
        SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN d.value) > 0)),
    (SELECT count(*) FROM early_events e WHERE EXISTS (
        SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN e.value) > 0)),
    (SELECT count(*) FROM outbox o WHERE EXISTS (
        SELECT FROM unnest(:needles) n (needle) WHERE position(n.needle IN o.value) > 0));

-- name: remember(actor, why, outcome)!
-- That it was done, by whom, and why; not for whom.
INSERT INTO audit (actor, role, verb, reason, outcome) VALUES (:actor, 'operator', 'erase', :why, :outcome);
