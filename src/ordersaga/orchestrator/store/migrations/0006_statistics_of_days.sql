-- Days beside the hours: half a year is 180 rows of each figure and not 4,000.

CREATE TABLE statistics_days (
    bucket timestamptz NOT NULL,
    saga text NOT NULL,
    kind text NOT NULL,
    label text NOT NULL,
    count bigint NOT NULL DEFAULT 0,
    microseconds bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket, saga, kind, label)
);
COMMENT ON TABLE statistics_days IS 'Sums of days in UTC: those of their hours, kept so by triggers, whoever folds.';

CREATE FUNCTION add_hours_to_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One statement may add some hours and change others: two that fold would take the days' rows in different orders.
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || ' statistics_days', 0));
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO statistics_days AS days (bucket, saga, kind, label, count, microseconds)
        SELECT date_trunc('day', bucket, 'UTC'), saga, kind, label, sum(count), sum(microseconds)
        FROM (
            SELECT bucket, saga, kind, label, count, microseconds FROM after
            UNION ALL SELECT bucket, saga, kind, label, -count, -microseconds FROM before
        ) changed
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (bucket, saga, kind, label)
        DO UPDATE SET count = days.count + excluded.count, microseconds = days.microseconds + excluded.microseconds;
    ELSE
        INSERT INTO statistics_days AS days (bucket, saga, kind, label, count, microseconds)
        SELECT date_trunc('day', bucket, 'UTC'), saga, kind, label, sum(count), sum(microseconds)
        FROM after
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (bucket, saga, kind, label)
        DO UPDATE SET count = days.count + excluded.count, microseconds = days.microseconds + excluded.microseconds;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION add_hours_to_days() IS 'What is added to an hour is added to its day. Hours that are deleted leave their day as it is.';

CREATE TRIGGER hours_added AFTER INSERT ON statistics
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION add_hours_to_days();
CREATE TRIGGER hours_changed AFTER UPDATE ON statistics
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION add_hours_to_days();

-- Nobody folds from here to the end of this transaction: the triggers' locks are held.
INSERT INTO statistics_days
SELECT date_trunc('day', bucket, 'UTC'), saga, kind, label, sum(count), sum(microseconds) FROM statistics GROUP BY 1, 2, 3, 4;
