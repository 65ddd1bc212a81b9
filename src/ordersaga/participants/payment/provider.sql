-- The sandbox provider's ledger.

-- name: hold(keys, intents, amounts, methods, codes)
-- A key that was used before holds nothing again; what came of it the first time is told again.
INSERT INTO sandbox_intents (idempotency_key, intent_id, amount_cents, payment_method_id, decline_code, status)
SELECT v.key, v.intent, v.amount, v.method, v.code, CASE WHEN v.code IS NULL THEN 'HELD' ELSE 'DECLINED' END
FROM unnest((:keys)::text[], (:intents)::text[], (:amounts)::bigint[], (:methods)::text[], (:codes)::text[])
    v (key, intent, amount, method, code)
ON CONFLICT (idempotency_key) DO UPDATE SET idempotency_key = excluded.idempotency_key
RETURNING idempotency_key, intent_id, payment_method_id, decline_code,
    extract(epoch FROM clock_timestamp() - created_at)::float8;

-- name: capture(intents)
-- What is held changes hands.
UPDATE sandbox_intents SET status = 'CAPTURED'
WHERE intent_id = ANY ((:intents)::text[]) AND status IN ('HELD', 'CAPTURED')
RETURNING intent_id;

-- name: take_back(intents)
-- A hold is let go and captured money is refunded, each once.
UPDATE sandbox_intents SET
    status = CASE status WHEN 'HELD' THEN 'RELEASED' WHEN 'CAPTURED' THEN 'REFUNDED' ELSE status END,
    released_at = coalesce(released_at, clock_timestamp())
WHERE intent_id = ANY ((:intents)::text[])
RETURNING intent_id, status;

-- name: give_up(keys, keep)
-- Whether or not the key was used: nothing is held under it, now and later.
INSERT INTO sandbox_intents (idempotency_key, amount_cents, payment_method_id, decline_code, status)
SELECT key, 0, '', 'canceled', 'CANCELED' FROM unnest((:keys)::text[]) v (key)
ON CONFLICT (idempotency_key) DO UPDATE SET status = 'RELEASED', released_at = clock_timestamp()
WHERE sandbox_intents.status = 'HELD' AND sandbox_intents.intent_id <> ALL ((:keep)::text[])
RETURNING idempotency_key;

-- name: pay_out(keys, payouts, runners, amounts)
-- A key that was used before pays nothing again; what was paid the first time is told again.
INSERT INTO sandbox_payouts (idempotency_key, payout_id, runner_id, amount_cents)
SELECT * FROM unnest((:keys)::text[], (:payouts)::text[], (:runners)::text[], (:amounts)::bigint[])
ON CONFLICT (idempotency_key) DO UPDATE SET idempotency_key = excluded.idempotency_key
RETURNING idempotency_key, payout_id;
