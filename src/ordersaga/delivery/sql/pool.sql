-- What is asked of a connection before it is used.

-- name: end_after(timeout)
-- Once for each connection: how long a transaction may take, whatever its client does meanwhile.
SELECT set_config('transaction_timeout', :timeout, false);

-- name: enter(schema, timeout, transaction_timeout)
-- For poolers that pass on no settings of a connection: those of one transaction.
SELECT
    set_config('search_path', quote_ident(:schema), true),
    set_config('statement_timeout', :timeout, true),
    set_config('idle_in_transaction_session_timeout', :timeout, true),
    set_config('client_connection_check_interval', '1s', true),
    CASE WHEN current_setting('server_version_num')::int >= 170000 THEN set_config('transaction_timeout', :transaction_timeout, true) END;
