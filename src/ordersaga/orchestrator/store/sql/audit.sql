-- What operators did, asked for and were refused. The switch for orders, dead letters and erasure write theirs themselves,
-- in one transaction with what they do.

-- name: note(actor, role, verb, saga_id, reason, outcome)!
-- What somebody wished for one saga, and what came of it.
INSERT INTO audit (actor, role, verb, saga_id, reason, outcome)
VALUES (:actor, :role, :verb, :saga_id, :reason, :outcome);

-- name: page(saga_id, before, limit)
-- Newest first; of one saga, if asked.
SELECT id, at, actor, role, verb, saga_id, reason, outcome FROM audit
WHERE id < :before AND ((:saga_id)::uuid IS NULL OR saga_id = :saga_id)
ORDER BY id DESC LIMIT :limit;
