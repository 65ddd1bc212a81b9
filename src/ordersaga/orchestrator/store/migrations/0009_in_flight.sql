-- How many sagas are in flight, by status and step: kept by sums, so that asking costs the same however many there are.

CREATE TABLE in_flight_added (
    status text NOT NULL,
    step text NOT NULL,
    count bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE in_flight_added IS 'What transactions add and take away; not folded yet: some seconds worth. Append-only.';

CREATE TABLE in_flight (
    status text NOT NULL,
    step text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (status, step)
) WITH (fillfactor = 50);
COMMENT ON TABLE in_flight IS 'Sums. Workers of a version before this one add nothing: each process that starts counts once, and adds what differs.';

INSERT INTO in_flight
SELECT status, coalesce(step, ''), count(*) FROM sagas WHERE status IN ('STARTED', 'COMPENSATING', 'CANCELLING') GROUP BY 1, 2;
