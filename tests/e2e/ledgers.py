"""What really happened, read from the participants' own tables and never from the orchestrator's opinion of them.

Each check returns the sagas that violate it, so that a failure names them.
"""

from dataclasses import dataclass
from typing import Any

import psycopg

CHECKS = {
    "every saga has ended": """
        select id::text from ordersaga.sagas where status not in ('COMPLETED', 'COMPENSATED', 'CANCELLED')
    """,
    "a completed order is open, paid once in exactly its amount, and timed": """
        select s.id::text from ordersaga.sagas s
        left join participant_order.rows o on o.key = s.id::text
        left join participant_payment.rows p on p.key = s.id::text
        left join participant_timer.rows t on t.key = s.id::text
        where s.status = 'COMPLETED' and not coalesce(
            o.status = 'CREATED' and p.status = 'AUTHORIZED' and t.status = 'STARTED'
            and p.amount_cents = (s.state -> 'data' ->> 'amount_cents')::bigint
            and p.order_id = o.order_id and s.order_id = o.order_id, false)
    """,
    "of a saga that was taken back nothing is left": """
        select s.id::text from ordersaga.sagas s
        left join participant_order.rows o on o.key = s.id::text
        left join participant_payment.rows p on p.key = s.id::text
        where s.status in ('COMPENSATED', 'CANCELLED')
          and (o.status in ('PENDING', 'CREATED', 'ACCEPTED') or p.status = 'AUTHORIZED')
    """,
    "the provider holds money once for each payment that stands, and for nothing else": """
        select coalesce(p.key, i.intent_id) from participant_payment.sandbox_intents i
        full join (select * from participant_payment.rows where status = 'AUTHORIZED') p
            on p.payment_intent_id = i.intent_id
        where coalesce(i.status = 'HELD', false) is distinct from (p.key is not null)
    """,
    "a participant knows no order that no saga placed": """
        select key from participant_order.rows where key not in (select id::text from ordersaga.sagas)
        union all select key from participant_payment.rows where key not in (select id::text from ordersaga.sagas)
    """,
    "a customer is told each outcome once": """
        select s.id::text from ordersaga.sagas s
        left join participant_notification.rows n on n.saga_id = s.id::text
        group by s.id, s.status
        having count(*) filter (where n.type = 'notification.order_confirmed') <> (s.status = 'COMPLETED')::int
            or count(*) filter (where n.type = 'notification.order_cancelled') <> (s.status <> 'COMPLETED')::int
    """,
    "what was committed was published": "select topic from ordersaga.outbox",
    "nothing was set aside": """
        select reason from ordersaga.dead_letters
        union all select type from ordersaga.orphans
        union all select reason from participant_order.dead_letters
        union all select reason from participant_payment.dead_letters
    """,
}


@dataclass(frozen=True)
class Ledgers:
    database_url: str

    def violations(self, planted: str = "") -> dict[str, list[str]]:
        """By check, at most ten offenders each; empty when all is as it should be.

        `planted` is a statement that spoils the ledgers first, for this look only: a checker that never failed proves
        nothing.
        """
        found: dict[str, list[str]] = {}
        with psycopg.connect(self.database_url) as connection:
            if planted:
                connection.execute(planted.encode())
            for name, query in CHECKS.items():
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
    "a completed order is open, paid once in exactly its amount, and timed": f"""
        update participant_payment.rows set amount_cents = amount_cents + 1 where key = {ONE}
    """,
    "of a saga that was taken back nothing is left": f"""
        update ordersaga.sagas set status = 'COMPENSATED' where id::text = {ONE}
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
