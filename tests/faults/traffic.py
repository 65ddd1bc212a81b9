"""Customers and runners: orders of every kind at a steady rate, some cancelled, some accepted, while things break.

A customer orders once and asks again never: an order that got no answer may or may not exist. What was promised, by a
202, has to be there.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from ordersaga.demo.client import Api, Unanswered

DETAILS = {"foodItems": [{"name": "burrito", "price": 4.35, "quantity": 2}], "deliveryLocation": "c4n4ry Dorm 7"}
KINDS: Mapping[str, int] = {
    "happy": 50,
    "cancels": 12,
    "accepted": 12,
    "declined": 10,
    "no-card": 4,
    "unknown": 4,
    "late": 3,
    "twice": 3,
    "silent": 2,
}
"""How often each kind of customer orders. Names tell the sandbox what to do."""
POSTERS = 4
ACT_WITHIN_SECONDS = 20.0


@dataclass
class Traffic:
    urls: Sequence[str]
    orders_url: str | None
    """Where runners accept; None: nobody does."""
    per_second: float
    random: Random
    label: str = "run"
    kinds: Mapping[str, int] = field(default_factory=lambda: dict(KINDS))
    placed: dict[str, str] = field(default_factory=dict)
    """The saga of each customer whose order was taken."""
    counts: Counter[str] = field(default_factory=Counter)
    paused: bool = False

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._idle = threading.Event()
        self._lock = threading.Lock()
        self._number = 0
        self._due: list[tuple[float, int, str, str]] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._next_at = time.monotonic()
        self.start_acting()
        self._run([self._post] * POSTERS)

    def start_acting(self) -> None:
        """Cancel and accept what is placed, without placing anything."""
        self._run([self._act])

    def _run(self, targets: Sequence[Callable[[], None]]) -> None:
        threads = [threading.Thread(target=target, daemon=True) for target in targets]
        self._threads += threads
        for thread in threads:
            thread.start()

    def stop(self) -> None:
        """No new orders; what was to be cancelled or accepted still is, for a moment."""
        self._stop.set()
        for thread in self._threads:
            thread.join(ACT_WITHIN_SECONDS + 10)

    def place(self, kind: str, label: str = "", *, url: str = "") -> str | None:
        """One order; the saga's id, or None where no 202 came."""
        with self._lock:
            self._number += 1
            number = self._number
        customer_id = f"{kind}-{label or self.label}-{number}"
        try:
            saga_id = Api(url or self.urls[number % len(self.urls)]).place(
                {"customer_id": customer_id, "order_details": DETAILS}
            )
        except Unanswered as error:
            self.counts["refused" if " 503 " in str(error) or " 429 " in str(error) else "no answer"] += 1
            return None
        with self._lock:
            self.placed[customer_id] = saga_id
            self.counts["placed"] += 1
            if kind in ("cancels", "accepted"):
                due = time.monotonic() + self.random.uniform(0.0, 2.0)
                heappush(self._due, (due, number, kind, saga_id))
        return saga_id

    def _post(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                at = max(self._next_at, time.monotonic() - 1.0)
                self._next_at = at + 1 / self.per_second
                kind = self.random.choices(list(self.kinds), list(self.kinds.values()))[0]
            if self._stop.wait(max(0.0, at - time.monotonic())):
                return
            if not self.paused:
                self.place(kind)

    def _act(self) -> None:
        end = None
        while end is None or (self._due and time.monotonic() < end):
            if end is None and self._stop.wait(0.05):
                end = time.monotonic() + ACT_WITHIN_SECONDS
            with self._lock:
                due = self._due[0] if self._due and self._due[0][0] <= time.monotonic() else None
                if due is not None:
                    heappop(self._due)
            if due is None:
                self._idle.wait(0.02)
                continue
            try:
                self._cancel(due[3]) if due[2] == "cancels" else self._accept(due[3])
            except Unanswered as error:
                refused = " 409 " in str(error)
                self.counts[f"{due[2]}: {'refused' if refused else 'no answer'}"] += 1
                if not refused:
                    with self._lock:
                        heappush(self._due, (time.monotonic() + 1.0, due[1], due[2], due[3]))

    def _cancel(self, saga_id: str) -> None:
        Api(self.urls[0]).cancel(saga_id, "changed my mind")
        self.counts["cancelled"] += 1

    def _accept(self, saga_id: str) -> None:
        if self.orders_url is None:
            return
        saga = Api(self.urls[-1]).saga(saga_id)
        if saga["status"] in ("STARTED", "COMPLETED") and saga["order_id"]:
            Api(self.orders_url).accept(saga["order_id"], "r-1")
            self.counts["accepted"] += 1
