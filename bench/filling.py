"""Fills a database with sagas as they would have been left by months of work: copies of some that really ran, under
ids of their own, with their history, their personal data, their deadlines and the statistics of every hour.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import psycopg

CHUNK = 10_000
CONNECTIONS = 2

_SETUP: LiteralString = """
CREATE SCHEMA IF NOT EXISTS bench;
CREATE OR REPLACE FUNCTION bench.id_of(moment timestamptz, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '7' || substr(md5(number::text), 1, 3)
        || '8' || substr(md5(number::text), 4, 15))::uuid
$$;
CREATE TABLE bench.originals (
    kind text, n int, saga sagas, personal saga_personal, deadlines text[], PRIMARY KEY (kind, n)
);
CREATE TABLE bench.history (LIKE saga_history);
CREATE TABLE bench.copies (number bigint, id uuid, kind text, n int, moment timestamptz);
"""

_WEEKS: LiteralString = """
DO $$
DECLARE
    week timestamptz := date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    name text;
BEGIN
    FOR n IN 2 .. 60 LOOP
        name := 'saga_history_' || to_char((week - n * interval '168 hours') AT TIME ZONE 'UTC', 'YYYYMMDD');
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF saga_history FOR VALUES FROM (%L) TO (%L)', name,
            first_id_of(week - n * interval '168 hours'), first_id_of(week - (n - 1) * interval '168 hours'));
    END LOOP;
END $$;
"""
"""The weeks before those that the product makes, under the names that it gives them."""

_KEEP: Sequence[LiteralString] = (
    """
    INSERT INTO bench.originals
    SELECT %(kind)s, row_number() OVER (ORDER BY s.id) - 1, s, p,
        ARRAY(SELECT d.kind FROM deadlines d WHERE d.saga_id = s.id)
    FROM sagas s JOIN saga_personal p ON p.saga_id = s.id WHERE s.id = ANY (%(ids)s)
    """,
    "INSERT INTO bench.history SELECT * FROM saga_history WHERE saga_id = ANY (%(ids)s)",
)
"""As they are now: what they are copied from may go on."""

_COPY: Sequence[LiteralString] = (
    """
    INSERT INTO copies
    SELECT n, bench.id_of(one.moment, n), %(kind)s, n %% %(originals)s, one.moment
    FROM generate_series(%(from)s::bigint, %(to)s::bigint) n
    CROSS JOIN LATERAL (SELECT %(first)s::timestamptz + (n - %(base)s) * %(step)s::interval) one (moment)
    """,
    """
    INSERT INTO sagas
    SELECT c.id, (o.saga).saga, (o.saga).version, (o.saga).status, (o.saga).step, (o.saga).revision,
        replace((o.saga).order_id, (o.saga).id::text, c.id::text),
        replace((o.saga).payment_id, (o.saga).id::text, c.id::text),
        (o.saga).reason, (o.saga).attention, (o.saga).resolved, c.moment, c.moment,
        CASE WHEN (o.saga).completed_at IS NOT NULL THEN c.moment END,
        replace((o.saga).state::text, (o.saga).id::text, c.id::text)::jsonb
            || jsonb_build_object('created_at', c.moment)
            || CASE WHEN 'command' = ANY (o.deadlines) THEN jsonb_build_object('outstanding',
                (o.saga).state -> 'outstanding' || jsonb_build_object('due_at', %(due)s::timestamptz)) ELSE '{}' END
            || CASE WHEN 'window' = ANY (o.deadlines) THEN jsonb_build_object('window_ends_at', %(due)s::timestamptz)
                ELSE '{}' END
    FROM copies c JOIN bench.originals o USING (kind, n)
    """,
    """
    INSERT INTO saga_history
    SELECT c.id, h.revision, c.moment, h.cause, replace(h.body::text, h.saga_id::text, c.id::text)::jsonb
    FROM copies c JOIN bench.originals o USING (kind, n) JOIN bench.history h ON h.saga_id = (o.saga).id
    """,
    """
    INSERT INTO saga_personal
    SELECT c.id, one.customer, (o.personal).data || jsonb_build_object('customer_id', one.customer)
    FROM copies c JOIN bench.originals o USING (kind, n)
    CROSS JOIN LATERAL (SELECT 'customer-' || c.number %% 50000) one (customer)
    """,
    """
    INSERT INTO deadlines
    SELECT c.id, unnest(o.deadlines), %(due)s::timestamptz FROM copies c JOIN bench.originals o USING (kind, n)
    """,
)

_STATISTICS: LiteralString = """
INSERT INTO statistics
SELECT hour, saga, kind, label, sum(count), sum(microseconds)
FROM (SELECT saga, kind, label, count, microseconds FROM statistics
      UNION ALL SELECT saga, kind, label, count, microseconds FROM statistics_added) one,
    generate_series(date_trunc('hour', %s::timestamptz), date_trunc('hour', now()) - interval '1 hour', '1 hour') hour
GROUP BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
"""
_IN_FLIGHT = """
INSERT INTO in_flight
SELECT status, coalesce(step, ''), count(*) FROM sagas WHERE status IN ('STARTED', 'COMPENSATING', 'CANCELLING')
GROUP BY 1, 2
"""
Said = Callable[[str], None]


class Filling:
    """Works on one database, which nothing else changes meanwhile."""

    def __init__(self, database_url: str, say: Said) -> None:
        self._url = database_url
        self._say = say
        self._next = 0
        with self._connected() as connection:
            connection.execute(_SETUP)
            connection.execute(_WEEKS)

    def originals(self, kind: str, ids: Sequence[UUID]) -> None:
        """What `copies` of this kind are made from, as it is now."""
        with self._connected() as connection:
            for statement in _KEEP:
                connection.execute(statement, {"kind": kind, "ids": list(ids)})

    def copies(self, kind: str, count: int, *, since: datetime, until: datetime, due: datetime | None = None) -> None:
        """So many, begun at even times from `since` to `until`, in turn copies of each original. `due`: when their
        deadlines are, if they have some.
        """
        with self._connected() as connection:
            found = connection.execute("SELECT count(*) FROM bench.originals WHERE kind = %s", (kind,)).fetchone()
        assert found and found[0], f"there are no originals of kind {kind}"
        common = {
            "kind": kind,
            "originals": found[0],
            "first": since,
            "base": self._next,
            "step": (until - since) / count,
            "due": due,
        }
        begin, self._next = self._next, self._next + count
        starts = range(begin, begin + count, CHUNK)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            chunks = pool.map(lambda at: self._chunk(common, at, min(at + CHUNK, begin + count) - 1), starts)
            for number, _ in enumerate(chunks, 1):
                if number % 10 == 0 or number == len(starts):
                    self._say(f"  {min(number * CHUNK, count):,} of {count:,} sagas stored")

    def statistics(self, days: int) -> None:
        """What the hours of some days are said to have been like: all like what was counted so far."""
        with self._connected() as connection:
            connection.execute(_STATISTICS, (datetime.now().astimezone() - timedelta(days=days),))

    def settle(self) -> None:
        """What the database would have done meanwhile by itself."""
        with self._connected() as connection:
            connection.execute("DELETE FROM in_flight_added")
            connection.execute("DELETE FROM in_flight")
            connection.execute(_IN_FLIGHT)
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def _chunk(self, common: dict[str, object], start: int, end: int) -> None:
        with self._connected() as connection:
            connection.execute("SET LOCAL synchronous_commit = off")
            connection.execute("CREATE TEMP TABLE copies (LIKE bench.copies) ON COMMIT DROP")
            for statement in _COPY:
                connection.execute(statement, common | {"from": start, "to": end})

    def _connected(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self._url, options="-c search_path=ordersaga,public")
