-- Users and how they pay.
CREATE TABLE IF NOT EXISTS rows (
    key text PRIMARY KEY,
    stripe_customer_id text,
    payment_method_id text
) WITH (fillfactor = 70);
