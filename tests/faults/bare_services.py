"""The bare services as a process of their own that can be killed, frozen and started again on what they did before.

    python -m tests.faults.bare_services --brokers 127.0.0.1:9092 --ledger bare.sqlite

Their ledger is a file. What they did is in it before they say so, as with a service that has a database; what they had
not said yet when they were killed is never said, and what they had not committed to Kafka they do again.
"""

import argparse
import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any
from uuid import uuid4

from ordersaga.bus.kafka import KafkaBus
from ordersaga.bus.protocol import Consumer, Record
from ordersaga.delivery.clock import SystemClock, SystemRandom
from ordersaga.process import run_until_signalled
from ordersaga.testing.bare import BareHold, BareOrder, BareServices, Habits, Mishap, Said
from ordersaga.testing.bare_host import GROUP, PLAYED, BareHost
from ordersaga.wire.messages import Message
from ordersaga.wire.topics import Topics

COMMIT_LATER_SECONDS = 5.0
NOBODY = "unknown-to-everybody"
"""A user whom they do not know."""
_TABLES = """
    create table if not exists orders (
        order_id text primary key, saga_id text, customer_id text, status text, runner_id text, shown int
    );
    create table if not exists holds (
        intent_id text primary key, payment_id text, saga_id text, order_id text, amount_cents int, status text,
        shown int, number int
    );
    create table if not exists timers (order_id text primary key, ends_at text);
"""


class Ledger:
    """What bare services did, in a file. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # Killed processes lose nothing by it, and a loss of power is not tried.
        self._db.execute("pragma synchronous = off")
        self._db.executescript(_TABLES)
        self._db.row_factory = sqlite3.Row

    def orders(self) -> dict[str, BareOrder]:
        rows = self._db.execute("select * from orders")
        return {row["order_id"]: BareOrder(**{**dict(row), "shown": bool(row["shown"])}) for row in rows}

    def holds(self) -> list[BareHold]:
        rows = [dict(row) for row in self._db.execute("select * from holds order by number")]
        return [
            BareHold(**{name: value for name, value in row.items() if name != "number"} | {"shown": bool(row["shown"])})
            for row in rows
        ]

    def timers(self) -> dict[str, datetime]:
        rows = self._db.execute("select * from timers")
        return {row["order_id"]: datetime.fromisoformat(row["ends_at"]) for row in rows}

    def keep(self, services: BareServices, saga_id: str) -> None:
        """What there is of one saga, and all timers."""
        orders = [asdict(one) for one in services.orders.values() if one.saga_id == saga_id]
        holds = [
            asdict(one) | {"number": number} for number, one in enumerate(services.holds) if one.saga_id == saga_id
        ]
        self._db.execute("begin")
        self._put("orders", orders)
        self._put("holds", holds)
        self._db.execute("delete from timers")
        self._put("timers", [{"order_id": key, "ends_at": ends.isoformat()} for key, ends in services.timers.items()])
        self._db.execute("commit")

    def _put(self, table: str, rows: list[dict[str, object]]) -> None:
        for row in rows:
            named = ", ".join(f":{name}" for name in row)
            self._db.execute(f"insert or replace into {table} ({', '.join(row)}) values ({named})", row)


class KeptServices(BareServices):
    """Bare services that begin where a process before them was killed."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(
            new_id=lambda: uuid4().hex[:12],
            habits=Habits(users_unknown=frozenset({NOBODY})),
            orders=ledger.orders(),
            holds=ledger.holds(),
            timers=ledger.timers(),
        )
        self._ledger = ledger

    def carry_out(self, saga_id: str, command: Message, now: datetime, mishap: Mishap = Mishap.NONE) -> list[Said]:
        said = super().carry_out(saga_id, command, now, mishap)
        self._ledger.keep(self, saga_id)
        return said

    def accept(self, order_id: str, runner_id: str, now: datetime) -> list[Said]:
        said = super().accept(order_id, runner_id, now)
        self._ledger.keep(self, self.orders[order_id].saga_id)
        return said

    def give_back(self, order_id: str, now: datetime) -> list[Said]:
        said = super().give_back(order_id, now)
        self._ledger.keep(self, self.orders[order_id].saga_id)
        return said

    def expire(self, now: datetime) -> list[Said]:
        said = super().expire(now)
        if said:
            self._ledger.keep(self, "")
        return said


class LateBus(KafkaBus):
    """What its consumers have handled is committed some seconds later; killed before, it is handled again."""

    def consumer(self, **how: Any) -> "LateConsumer":  # type: ignore[override]
        return LateConsumer(super().consumer(**how))


class LateConsumer:
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._handled: dict[tuple[str, int], int] = {}
        self._due_at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def commit(self, next_offsets: Mapping[tuple[str, int], int]) -> None:
        if not self._handled:
            self._due_at = monotonic() + COMMIT_LATER_SECONDS
        self._handled.update(next_offsets)

    def poll(self, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        if self._handled and monotonic() >= self._due_at:
            self._consumer.commit(self._handled)
            self._handled = {}
        return self._consumer.poll(max_records, min(timeout_seconds, COMMIT_LATER_SECONDS))


def open_desk(host: BareHost, port: int) -> None:
    """For runners: `POST /orders/{id}/accept` and `/give-back`, as long as the process lives. 409: it cannot be."""
    clock = SystemClock()

    class Post(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _, _, order_id, act = self.path.split("/")

            def done(services: BareServices) -> list[Said]:
                if order_id not in services.orders:
                    return []
                if act == "accept":
                    return services.accept(order_id, body["runner_id"], clock.now())
                return services.give_back(order_id, clock.now())

            self.send_response(200 if host.by_hand(done) else 409)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Post)
    Thread(target=server.serve_forever, name="desk", daemon=True).start()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bare_services", description=__doc__)
    parser.add_argument("--brokers", required=True, help="host:port of some, separated by commas")
    parser.add_argument("--ledger", type=Path, required=True, help="a file")
    parser.add_argument("--prefix", default="", help="of the names of all topics")
    parser.add_argument("--only", choices=[one.value for one in PLAYED], help="one of them; all unless told")
    parser.add_argument(
        "--commits-late", action="store_true", help="by the clock, as client libraries do by themselves"
    )
    parser.add_argument("--desk-port", type=int, help="where runners accept orders and give them back")
    arguments = parser.parse_args()
    bus = LateBus(arguments.brokers) if arguments.commits_late else KafkaBus(arguments.brokers)
    topics = Topics(**{field.name: arguments.prefix + field.name for field in fields(Topics)})
    services = KeptServices(Ledger(arguments.ledger))
    played = [one for one in PLAYED if arguments.only in (None, one.value)]
    group = f"{arguments.prefix}{GROUP}-{arguments.only}" if arguments.only else GROUP
    host = BareHost(
        services, bus, topics=topics, clock=SystemClock(), randomness=SystemRandom(), played=played, group=group
    )
    if arguments.desk_port:
        open_desk(host, arguments.desk_port)
    code = run_until_signalled(host, 9.0)
    bus.close(2.0)
    return code


if __name__ == "__main__":
    sys.exit(main())
