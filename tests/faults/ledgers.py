"""What really happened, read from the participants' own tables and never from the orchestrator's opinion of them.

Each check returns the sagas that violate it, so that a failure names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

POISON = b"poison, put here on purpose"
"""What a record that nobody can read begins with, where a run puts one on a topic."""
_POISON = f"convert_from(value, 'SQL_ASCII') like '{POISON.decode()}%'"
_PARTICIPANTS = ("order", "user", "payment", "timer", "notification")
_UNMEANT = f"value is null or not ({_POISON} or {{}} like '%FailpointError%')"
"""Set aside though no run wanted it so."""
_SAGAS = "(select id::text from ordersaga.sagas)"

CHECKS = {
    "every saga has ended": """
        select id::text from ordersaga.sagas where status not in ('COMPLETED', 'COMPENSATED', 'CANCELLED')
    """,
    "a completed order is open or accepted, and paid once in exactly its amount": """
        select s.id::text from ordersaga.sagas s
        left join participant_order.rows o on o.key = s.id::text
        left join participant_payment.rows p on p.key = s.id::text
        where s.status = 'COMPLETED' and not coalesce(
            o.status in ('CREATED', 'ACCEPTED') and p.status = 'AUTHORIZED'
            and p.amount_cents = (s.state -> 'data' ->> 'amount_cents')::bigint
            and p.order_id = o.order_id and s.order_id = o.order_id, false)
    """,
    "of a saga that was taken back nothing is left": """
        select s.id::text from ordersaga.sagas s
        left join participant_order.rows o on o.key = s.id::text
        left join participant_payment.rows p on p.key = s.id::text
        where s.status in ('COMPENSATED', 'CANCELLED')
          and (o.status in ('PENDING', 'CREATED', 'ACCEPTED') or p.status in ('AUTHORIZED', 'PENDING'))
    """,
    "an order that a runner has is not cancelled": """
        select key from participant_order.rows where status = 'CANCELLED' and runner_id is not null
    """,
    "the provider holds money once for each payment that stands, and for nothing else": """
        select coalesce(p.key, i.intent_id) from participant_payment.sandbox_intents i
        full join (select * from participant_payment.rows where status = 'AUTHORIZED') p
            on p.payment_intent_id = i.intent_id
        where coalesce(i.status = 'HELD', false) is distinct from (p.key is not null)
    """,
    "a participant knows no order that no saga placed": f"""
        select key from participant_order.rows where key not in {_SAGAS}
        union all select key from participant_payment.rows where key not in {_SAGAS}
    """,
    "a customer is told each outcome once": """
        select s.id::text from ordersaga.sagas s
        left join participant_notification.rows n on n.saga_id = s.id::text
        group by s.id, s.status
        having count(*) filter (where n.type = 'notification.order_confirmed') not in
                (case s.status when 'COMPLETED' then 1 else 0 end, (s.status in ('COMPLETED', 'CANCELLED'))::int)
            or count(*) filter (where n.type = 'notification.order_cancelled') <> (s.status <> 'COMPLETED')::int
    """,
    "the statistics are those of the history": """
        select coalesce(one.status, other.status)
        from (
            select h.body ->> 'status' status, count(*) n from ordersaga.saga_history h
            left join ordersaga.saga_history was on was.saga_id = h.saga_id and was.revision = h.revision - 1
            where h.body ->> 'status' in ('COMPLETED', 'COMPENSATED', 'CANCELLED', 'FAILED')
                and h.body ->> 'status' is distinct from was.body ->> 'status'
            group by 1
        ) one full join (
            select split_part(label, '|', 1) status, sum(count) n
            from (
                select kind, label, count from ordersaga.statistics
                union all select kind, label, count from ordersaga.statistics_added
            ) added where kind = 'ended' group by 1
        ) other using (status) where one.n is distinct from other.n
    """,
    "the statistics count every saga that was begun, by the day too": """
        select total::text from (
            select sum(count) total from (
                select count from ordersaga.statistics where kind = 'started'
                union all select count from ordersaga.statistics_added where kind = 'started'
            ) one
            union all select sum(count) from (
                select count from ordersaga.statistics_days where kind = 'started'
                union all select count from ordersaga.statistics_added where kind = 'started'
            ) one
        ) two where total is distinct from (select count(*) from ordersaga.sagas)
    """,
    "the sums of what is in flight are those of a full count": """
        select coalesce(status, '') || ' ' || coalesce(step, '') from (
            select status, coalesce(step, '') step, count(*) n from ordersaga.sagas
            where status in ('STARTED', 'COMPENSATING', 'CANCELLING') group by 1, 2
        ) one full join (
            select status, step, sum(count) n from (
                select * from ordersaga.in_flight union all select * from ordersaga.in_flight_added
            ) added group by 1, 2 having sum(count) <> 0
        ) other using (status, step) where one.n is distinct from other.n
    """,
    "an order is placed once": """
        select customer_id from ordersaga.saga_personal group by customer_id having count(*) > 1
    """,
    "what was committed was published": " union all ".join(
        f"select topic from {schema}.outbox"
        for schema in ("ordersaga", *(f"participant_{name}" for name in _PARTICIPANTS))
    ),
    "nothing was set aside": " union all ".join(
        [
            f"select reason || ' ' || detail from ordersaga.dead_letters where {_UNMEANT.format('detail')}",
            "select type from ordersaga.orphans",
            *(
                f"select reason from participant_{name}.dead_letters where {_UNMEANT.format('reason')}"
                for name in _PARTICIPANTS
            ),
        ]
    ),
    "no deadline is left of a saga that waits for nothing": """
        select saga_id::text from ordersaga.deadlines d
        left join ordersaga.sagas s on s.id = d.saga_id
        where s.id is null or (d.kind = 'command' and s.status in ('COMPENSATED', 'CANCELLED'))
    """,
}
TIMED = {
    "a completed order has its timer": """
        select s.id::text from ordersaga.sagas s
        left join participant_timer.rows t on t.key = s.id::text
        where s.status = 'COMPLETED' and not coalesce(t.status = 'STARTED', false)
    """,
}
"""Where the timer service was there all the time: without it, an order is confirmed as well."""


@dataclass(frozen=True)
class Ledgers:
    database_url: str
    checks: Mapping[str, str] = field(default_factory=lambda: {**CHECKS, **TIMED})

    def violations(self, planted: str = "") -> dict[str, list[str]]:
        """By check, at most ten offenders each; empty when all is as it should be.

        `planted` is a statement that spoils the ledgers first, for this look only: a checker that never failed proves
        nothing.
        """
        found: dict[str, list[str]] = {}
        with psycopg.connect(self.database_url) as connection:
            if planted:
                connection.execute(planted.encode())
            for name, query in self.checks.items():
                rows = connection.execute(query.encode()).fetchmany(10)
                if rows:
                    found[name] = [str(row[0]) for row in rows]
            connection.rollback()
        return found

    def count(self, query: str) -> int:
        with psycopg.connect(self.database_url) as connection:
            row: Any = connection.execute(query.encode()).fetchone()
        return int(row[0])

    def ended(self) -> int:
        statuses = "('COMPLETED', 'COMPENSATED', 'CANCELLED', 'FAILED')"
        return self.count(f"select count(*) from ordersaga.sagas where status in {statuses}")


ONE = "(select id::text from ordersaga.sagas limit 1)"
PLANTED = {
    "every saga has ended": "update ordersaga.sagas set status = 'STARTED'",
    "a completed order is open or accepted, and paid once in exactly its amount": f"""
        update participant_payment.rows set amount_cents = amount_cents + 1 where key = {ONE}
    """,
    "of a saga that was taken back nothing is left": f"""
        update ordersaga.sagas set status = 'COMPENSATED' where id::text = {ONE}
    """,
    "a completed order has its timer": f"delete from participant_timer.rows where key = {ONE}",
    "an order that a runner has is not cancelled": f"""
        update participant_order.rows set status = 'CANCELLED', runner_id = 'r-1' where key = {ONE}
    """,
    "the statistics are those of the history": """
        insert into ordersaga.statistics_added (saga, kind, label, count, microseconds)
        values ('create_order', 'ended', 'COMPLETED|', 1, 100000)
    """,
    "the statistics count every saga that was begun, by the day too": """
        insert into ordersaga.statistics_added (saga, kind, label, count, microseconds)
        values ('create_order', 'started', '', 1, 0)
    """,
    "the sums of what is in flight are those of a full count": """
        insert into ordersaga.in_flight_added values ('STARTED', 'CREATE_ORDER', -1)
    """,
    "an order is placed once": "update ordersaga.saga_personal set customer_id = 'c4n4ry-1'",
    "no deadline is left of a saga that waits for nothing": """
        insert into ordersaga.deadlines values (gen_random_uuid(), 'command', now())
    """,
    "the provider holds money once for each payment that stands, and for nothing else": """
        insert into participant_payment.sandbox_intents values ('k', 'pi_twice', 1, 'pm', null, 'HELD')
    """,
    "a participant knows no order that no saga placed": """
        insert into participant_order.rows (key, order_id, status) values ('nobody', 'o', 'CANCELLED')
    """,
    "a customer is told each outcome once": f"""
        insert into participant_notification.rows (key, saga_id, type, customer_id, status, title, explanation, money)
        values ('again', {ONE}, 'notification.order_confirmed', 'c', '', '', '', '')
    """,
    "what was committed was published": """
        insert into ordersaga.outbox (owner, topic, key, value, headers)
        values (gen_random_uuid(), 't', '', '', '')
    """,
    "nothing was set aside": """
        insert into ordersaga.dead_letters (topic, partition, "offset", headers, timestamp_ms, reason, detail)
        values ('t', 0, 0, '', 0, 'r', '')
    """,
}
"""What each check has to notice."""
