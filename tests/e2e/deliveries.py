"""The platform as processes, of which each that has a part in a delivery can be stopped, killed and started again by
itself; and the people around an order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psycopg
from psycopg.rows import dict_row

from bench.stage import Stage
from ordersaga.demo.client import FINAL
from ordersaga.demo.stage import PARTICIPANTS, READY_SECONDS
from ordersaga.local.ports import free_ports
from ordersaga.local.processes import Process
from tests.canaries import CUSTOMER, MARK
from tests.waiting import until
from tests.whole import order as order_of

SERVICES = {"order": ("order",), "payment": ("payment",), "others": ("user", "timer", "notification")}
"""Processes, and the participants that share them."""
SETTINGS = {"ORDERSAGA_OUTBOX_LEASE_SECONDS": "3"}
"""Nobody waits long until a dead process counts as dead. How long an answer is waited for stays as it is."""
ENDED_SECONDS = 90.0
PAYOUT_CENTS = 200
OPERATOR = {"who": "op-7", "why": "looked into it"}
BROUGHT = {"who": "dispatch", "why": "handed over at the door", "payout_cents": PAYOUT_CENTS}


@dataclass(frozen=True, kw_only=True)
class Order:
    """One that was placed, and who carries it."""

    saga_id: str
    order_id: str
    payment_id: str
    customer_id: str
    runner_id: str


class Platform(Stage):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory, participants="none", settings=SETTINGS, database={"fsync": "off"})
        self._desks = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        self._numbers = count(1)
        self._client = httpx.Client(timeout=20.0)

    def start_participants(self) -> None:
        for name, members in SERVICES.items():
            # One that runs alone listens at this port plus its number; under a name of its own it comes back at once.
            number = PARTICIPANTS.index(members[0]) + 1 if len(members) == 1 else 0
            own = {
                "ORDERSAGA_PARTICIPANTS_HTTP_PORT": str(self._desks[name] - number),
                "ORDERSAGA_INSTANCE_ID": name,
            }
            self._start("participants", "ordersaga.cli", "participants", *members, environment=own)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        super().__exit__(kind, error, trace)

    # --- processes --------------------------------------------------------------------------------

    def process(self, name: str) -> Process:
        """The orchestrator, or one of `SERVICES`."""
        return self.orchestrators[0] if name == "orchestrator" else self.participants[list(SERVICES).index(name)]

    def all_run(self) -> Self:
        """Each process, ready, and none that is to die somewhere, however the test before has ended."""
        names = ("orchestrator", *SERVICES)
        for name in names:
            process = self.process(name)
            if not process.is_running or (process.env or {}).get("ORDERSAGA_FAILPOINTS"):
                process.stop()
                self.start(name)
        for name in names:
            self.wait_until_ready(name)
        return self

    def start(self, name: str, failpoints: str = "") -> None:
        """`failpoints`: where it dies this time."""
        process = self.process(name)
        process.env = {**(process.env or {}), "ORDERSAGA_FAILPOINTS": failpoints}
        process.start()

    @contextmanager
    def away(self, name: str) -> Iterator[None]:
        """It answers nobody meanwhile."""
        self.process(name).freeze()
        try:
            yield
        finally:
            self.process(name).thaw()

    def wait_until_ready(self, name: str) -> None:
        self.process(name).wait_ready(lambda: self._is_ready(name), READY_SECONDS)

    def _is_ready(self, name: str) -> bool:
        try:
            return self.ask("GET", name, "/readyz" if name == "orchestrator" else "/health").status_code == 200
        except httpx.TransportError:
            return False

    # --- people -----------------------------------------------------------------------------------

    def ask(self, method: str, name: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        url = self.urls[0] if name == "orchestrator" else f"http://127.0.0.1:{self._desks[name]}"
        return self._client.request(method, f"{url}{path}", json=body)

    def answer(self, method: str, name: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What is said to what must be granted."""
        answered = self.ask(method, name, path, body)
        assert answered.status_code < 300, answered.text
        return answered.json()

    def placed(self, how_many: int = 1) -> list[Order]:
        """Orders that wait for a runner."""
        customers = [f"{CUSTOMER}-{next(self._numbers)}" for _ in range(how_many)]
        sagas = [self.answer("POST", "orchestrator", "/orders", order_of(one))["saga_id"] for one in customers]
        found = [self.ended(saga_id) for saga_id in sagas]
        assert [one["status"] for one in found] == ["COMPLETED"] * how_many, found
        return [
            Order(
                saga_id=one["id"],
                order_id=one["order_id"],
                payment_id=one["payment_id"],
                customer_id=one["customer_id"],
                runner_id=f"{MARK}-runner-of-{one['customer_id'].rpartition('-')[2]}",
            )
            for one in found
        ]

    def carried(self, how_many: int = 1) -> list[Order]:
        """Orders that a runner has, each another one."""
        orders = self.placed(how_many)
        for one in orders:
            self.accept(one, one.runner_id)
        return orders

    def accept(self, order: Order, runner_id: str) -> None:
        """Until the orchestrator knows it."""
        self.answer("POST", "order", f"/orders/{order.order_id}/accept", {"runner_id": runner_id})
        until(lambda: self.look(order.saga_id)["runner_id"] == runner_id, "the acceptance is heard")

    def complete(self, order: Order) -> httpx.Response:
        """Somebody says that it was handed over."""
        return self.ask("POST", "orchestrator", f"/orders/{order.order_id}/completion", BROUGHT)

    def begun(self, order: Order) -> str:
        """The saga that completes it."""
        answered = self.complete(order)
        assert answered.status_code == 202, answered.text
        return str(answered.json()["saga_id"])

    @contextmanager
    def nothing_is_read(self) -> Iterator[None]:
        """What services say waits on its topics meanwhile."""
        self.answer("POST", "orchestrator", "/consumption/pause", OPERATOR)
        until(lambda: "paused" in self._health_of("consumption"), "nothing is read")
        try:
            yield
        finally:
            self.answer("POST", "orchestrator", "/consumption/resume", OPERATOR)

    def _health_of(self, part: str) -> str:
        parts = self.answer("GET", "orchestrator", "/health")["parts"]
        return str(next(one["detail"] for one in parts if one["name"] == part))

    # --- what came of it --------------------------------------------------------------------------

    def look(self, saga_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.answer("GET", "orchestrator", f"/sagas/{saga_id}")
        return found

    def ended(self, saga_id: str) -> dict[str, Any]:
        until(lambda: self.look(saga_id)["status"] in FINAL, f"{saga_id} has ended", within_seconds=ENDED_SECONDS)
        return self.look(saga_id)

    def all_at(self, saga_ids: Sequence[str], step: str) -> None:
        """Until each of them waits for the answer of this step, and all that was said is on its topic."""
        query = "select count(*) from ordersaga.sagas where id = any (%s::uuid[]) and step = %s and status = 'STARTED'"
        until(
            lambda: (
                self.count(query, list(saga_ids), step) == len(saga_ids)
                and self.count("select count(*) from ordersaga.outbox") == 0
            ),
            f"{step} was asked for",
            within_seconds=ENDED_SECONDS,
        )

    def asked(self, saga_id: str) -> list[str]:
        """The commands that it sent, in order, each once."""
        sent = [one["type"] for entry in self.look(saga_id)["history"] for one in entry["body"]["sent"]]
        return list(dict.fromkeys(name for name in sent if "." not in name))

    def attempts(self, saga_id: str, step: str) -> int:
        return sum(one["attempts"] for one in self.look(saga_id)["steps"] if one["name"] == step)

    def count(self, query: str, *values: Any) -> int:
        with psycopg.connect(self.database_url) as connection:
            row: Any = connection.execute(query.encode(), values).fetchone()
        return int(row[0])

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def money(self, order: Order) -> tuple[str, str, int, str | None]:
        """What the payment service and its provider say of it: the payment, what is held for it, how much was paid out,
        and to whom.
        """
        (found,) = self.rows(
            "select p.status, i.status as held, coalesce(sum(x.amount_cents), 0) as out, min(x.runner_id) as whom"
            " from participant_payment.rows p"
            " join participant_payment.sandbox_intents i on i.intent_id = p.payment_intent_id"
            " left join participant_payment.sandbox_payouts x on x.idempotency_key = p.payment_id"
            " where p.payment_id = %s group by p.status, i.status",
            order.payment_id,
        )
        return found["status"], found["held"], int(found["out"]), found["whom"]

    def mark(self, order: Order) -> tuple[str, str | None]:
        """What the order service says of it, and the saga that marked it."""
        (found,) = self.rows("select * from participant_order.rows where order_id = %s", order.order_id)
        return found["status"], found["delivered_for"]

    def told(self, saga_id: str, whom: str) -> list[str]:
        """Of what they were told, over HTTP; each notice once it has come."""
        inbox = self.answer("GET", "others", f"/notifications?customer_id={whom}")
        return sorted(one["type"].removeprefix("notification.") for one in inbox if one["saga_id"] == saga_id)
