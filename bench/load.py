"""Places orders over HTTP, a fixed number in flight, and waits for each to end as `saga_events` announce it.

    python -m bench.load ORDERS IN_FLIGHT URL [URL ...]      (KAFKA_BOOTSTRAP_SERVERS)

prints one line of JSON: how each order ended, and the time from the start of its POST to the announcement of its end.
"""

import json
import os
import queue
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from bench.limit import own_cpu_seconds
from ordersaga.bus.kafka import KafkaBus
from ordersaga.wire.topics import Topics

ENDED = frozenset({"COMPLETED", "COMPENSATED", "CANCELLED", "FAILED"})
POSTERS_MAX = 16
STALLED_SECONDS = 60.0


@dataclass
class Load:
    orders: int
    in_flight: int
    urls: list[str]
    declined_share: float = 0.0
    with_keys: bool = False
    """Whether each order has an `Idempotency-Key`, so that one whose answer was lost is not placed twice."""
    begun_at: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, tuple[str, float]] = field(default_factory=dict)
    retried: int = 0

    def run(self) -> dict[str, Any]:
        self.tickets: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.slots = threading.Semaphore(self.in_flight)
        self.lock = threading.Lock()
        self.done = threading.Event()
        listener = threading.Thread(target=self.listen, daemon=True)
        self.listening = threading.Event()
        listener.start()
        if not self.listening.wait(30):
            raise TimeoutError("cannot read saga_events")
        count = min(POSTERS_MAX, self.in_flight)
        posters = [threading.Thread(target=self.post, args=(number,), daemon=True) for number in range(count)]
        for poster in posters:
            poster.start()
        cpu, begun = own_cpu_seconds(), time.perf_counter()
        for number in range(self.orders):
            self.wait_for_slot()
            self.tickets.put(number)
        for _ in posters:
            self.tickets.put(None)
        self.wait_for_all()
        ends = [self.ended_at[saga_id][1] for saga_id in self.begun_at if saga_id in self.ended_at]
        elapsed = max(ends) - begun if ends else 0.0
        return self.report(elapsed, own_cpu_seconds() - cpu)

    def wait_for_slot(self) -> None:
        if not self.slots.acquire(timeout=STALLED_SECONDS):
            raise TimeoutError(
                f"no order ended for {STALLED_SECONDS:.0f} s; {len(self.ended_at)} ended of {len(self.begun_at)}"
            )

    def wait_for_all(self) -> None:
        """Until all have ended, or none does any more."""
        last, since = -1, time.perf_counter()
        while not self.done.wait(1.0):
            if len(self.ended_at) != last:
                last, since = len(self.ended_at), time.perf_counter()
            if time.perf_counter() - since > STALLED_SECONDS:
                return

    def post(self, poster: int) -> None:
        connection = HTTPConnection(urlsplit(self.urls[poster % len(self.urls)]).netloc, timeout=30)
        while (number := self.tickets.get()) is not None:
            customer = "declined" if number < self.declined_share * self.orders else "customer"
            items = [{"name": "burrito", "price": 9.99, "quantity": 2}]
            details = {"foodItems": items, "deliveryLocation": "room 4"}
            body = json.dumps({"customer_id": f"{customer}-{number}", "order_details": details})
            saga_id, begun = self.placed(connection, body)
            with self.lock:
                self.begun_at[saga_id] = begun
                ended_already = saga_id in self.ended_at
            if ended_already:
                self.slots.release()
            self.check_done()

    def placed(self, connection: HTTPConnection, body: str) -> tuple[str, float]:
        """As a front end does: try again until it is answered with yes."""
        headers = {"Content-Type": "application/json"}
        if self.with_keys:
            headers["Idempotency-Key"] = str(uuid.uuid4())
        end = time.perf_counter() + STALLED_SECONDS
        while True:
            begun = time.perf_counter()
            try:
                connection.request("POST", "/orders", body, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status == 202:
                    return str(json.loads(content)["saga_id"]), begun
            except (OSError, HTTPException):
                connection.close()
            if begun > end:
                raise TimeoutError(f"no order was taken for {STALLED_SECONDS:.0f} s")
            self.retried += 1
            time.sleep(0.2)

    def listen(self) -> None:
        bus = KafkaBus(os.environ["KAFKA_BOOTSTRAP_SERVERS"])
        consumer = bus.consumer(
            group=f"bench-load-{uuid.uuid4().hex[:8]}", topics=[Topics().saga_events], client_id="bench-load"
        )
        while not self.done.is_set():
            records = consumer.poll(1000, 0.5)
            now = time.perf_counter()
            self.listening.set()
            for record in records:
                payload = json.loads(record.value or b"{}")["payload"]
                if payload["status"] in ENDED:
                    self.note(payload["saga_id"], payload["status"], now)

    def note(self, saga_id: str, status: str, now: float) -> None:
        """A saga has ended: one of ours makes room for the next. The topic also tells of sagas of runs before."""
        with self.lock:
            if saga_id in self.ended_at:
                return
            self.ended_at[saga_id] = (status, now)
            ours = saga_id in self.begun_at
        if ours:
            self.slots.release()
        self.check_done()

    def check_done(self) -> None:
        # There may be more ends than beginnings: sagas whose 202 was lost, and those of runs before.
        if len(self.begun_at) == self.orders and len(self.ended_at) >= self.orders:
            with self.lock:
                if self.begun_at.keys() <= self.ended_at.keys():
                    self.done.set()

    def report(self, elapsed: float, cpu: float) -> dict[str, Any]:
        ended = {saga_id: self.ended_at[saga_id] for saga_id in self.begun_at if saga_id in self.ended_at}
        seconds = sorted(at - self.begun_at[saga_id] for saga_id, (_, at) in ended.items())
        by_status: dict[str, int] = {}
        for status, _ in ended.values():
            by_status[status] = by_status.get(status, 0) + 1
        return {
            "orders": self.orders,
            "retried": self.retried,
            "ended": by_status,
            "not_ended": len(self.begun_at) - len(ended),
            "sagas_per_second": round(len(ended) / elapsed, 1) if elapsed else 0.0,
            "p50_ms": round(seconds[len(seconds) // 2] * 1e3, 1) if seconds else None,
            "p99_ms": round(seconds[int(len(seconds) * 0.99)] * 1e3, 1) if seconds else None,
            "cpu_ms_per_saga": round(cpu / max(1, len(ended)) * 1e3, 3),
        }


def main() -> None:
    orders, in_flight, urls = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    share = float(os.environ.get("BENCH_DECLINED_SHARE", "0"))
    with_keys = "BENCH_REQUEST_KEYS" in os.environ
    print(json.dumps(Load(orders, in_flight, urls, share, with_keys).run()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
