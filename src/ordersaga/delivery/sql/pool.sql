-- What is asked of a connection before it is used.

-- name: end_after(timeout)
-- Once for each connection: how long a transaction may take, whatever its client does meanwhile.
SELECT set_config('transaction_timeout', :timeout, false);
