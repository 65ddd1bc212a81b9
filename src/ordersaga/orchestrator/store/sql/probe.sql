-- What a doctor asks of a database, over a connection of its own.

-- name: server()
-- Who we are there, and whether anything can be written.
SELECT current_user, pg_is_in_recovery(), current_setting('transaction_read_only') = 'on';

-- name: rights(schema)
-- What the role may not do, of all that the service does.
SELECT kind || ' on ' || CASE WHEN name = '' THEN 'schema ' || :schema ELSE :schema || '.' || name END
FROM (
    SELECT c.relname AS name, p AS kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT has_table_privilege(c.oid, p)
    UNION ALL
    SELECT '', p FROM pg_namespace n, unnest(ARRAY['USAGE', 'CREATE']) p
    WHERE n.nspname = :schema AND NOT has_schema_privilege(n.oid, p)
) missing
ORDER BY name, kind;

-- name: owners(schema)
-- Who owns tables there that the role does not own and may not act as the owner of: nobody else makes or drops a partition
-- of the history, or vacuums. And whether the role can be made a member: not of a superuser, nor of a member of its own.
SELECT DISTINCT quote_ident(r.rolname), NOT (r.rolsuper OR pg_has_role(c.relowner, current_user, 'MEMBER'))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') AND NOT pg_has_role(c.relowner, 'USAGE')
ORDER BY 1;
