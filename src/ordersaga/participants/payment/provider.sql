-- The sandbox provider's ledger.

-- name: hold(keys, intents, amounts, methods, codes)!
-- A key that was used before holds nothing again.
INSERT INTO sandbox_intents (idempotency_key, intent_id, amount_cents, payment_method_id, decline_code, status)
SELECT v.key, v.intent, v.amount, v.method, v.code, CASE WHEN v.code IS NULL THEN 'HELD' ELSE 'DECLINED' END
FROM unnest((:keys)::text[], (:intents)::text[], (:amounts)::bigint[], (:methods)::text[], (:codes)::text[])
    v (key, intent, amount, method, code)
ON CONFLICT (idempotency_key) DO NOTHING;

-- name: outcomes(keys)
-- What came of each key, the first time.
SELECT idempotency_key, intent_id, decline_code FROM sandbox_intents WHERE idempotency_key = ANY ((:keys)::text[]);

-- name: release(intents)!
-- A hold is released once.
UPDATE sandbox_intents SET status = 'RELEASED', released_at = clock_timestamp()
WHERE intent_id = ANY ((:intents)::text[]) AND status = 'HELD';
