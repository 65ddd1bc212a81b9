-- name: full_of_dead(schema, tables, dead_rows_min)
-- Which of these tables are worth a vacuum and ours to vacuum.
SELECT n.nspname, c.relname
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = coalesce(:schema, current_schema()) AND c.relname = ANY (:tables)
  AND pg_has_role(c.relowner, 'USAGE') AND pg_stat_get_dead_tuples(c.oid) >= :dead_rows_min;
