"""Places orders over HTTP, a fixed number in flight, and waits for each to end as `saga_events` announce it.

    python -m bench.load [--declined SHARE] [--rate ORDERS_A_SECOND] [--keys] [--every SECONDS]
                         ORDERS IN_FLIGHT URL [URL ...]                     (KAFKA_BOOTSTRAP_SERVERS)

prints one line of JSON: how each order ended, and the time from the start of its first POST to the announcement of its
end, however often it was refused in between; `retried` says how often that was, of all orders together.
With a rate orders come at their times whatever becomes of those before, up to IN_FLIGHT; then the time is counted from
when each was to start. With `--every` also for each so many seconds, by when an order began.
"""

import argparse
import asyncio
import json
import os
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.figures import quantiles_ms
from bench.kafka_library import KafkaConsumer, TopicPartition
from bench.machine import own_cpu_seconds
from ordersaga.wire.topics import Topics

ENDED = frozenset({"COMPLETED", "COMPENSATED", "CANCELLED", "FAILED"})
CONNECTIONS_MAX = 128
ANSWER_SECONDS = 30.0
STALLED_SECONDS = 60.0
RETRY_SECONDS = 0.2
End = tuple[str, str, float]
"""Saga, status, when it was heard of."""


@dataclass
class Load:
    """Everything but the listening is done on one event loop."""

    orders: int
    in_flight: int
    urls: list[str]
    declined_share: float = 0.0
    """Of them so many have a card that is declined, every n-th one."""
    rate: float = 0.0
    """Orders a second; 0: as soon as there is room."""
    with_keys: bool = False
    """Whether each order has an `Idempotency-Key`, so that one whose answer was lost is not placed twice."""
    every_seconds: float = 0.0
    """How long the periods are that are told one by one; 0: none are."""
    begun_at: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Of all sagas, since the topic also tells of those of others."""
    retried: int = 0
    """How often an order was refused, or not answered, and asked for again."""
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    async def run(self) -> dict[str, Any]:
        self.numbers = iter(range(self.orders))
        self.slots = asyncio.Semaphore(self.in_flight)
        self.changed = asyncio.Event()
        await listening(self.note)
        cpu, begun = own_cpu_seconds(), time.perf_counter()
        self.begun = begun
        count = min(CONNECTIONS_MAX, self.in_flight)
        async with asyncio.TaskGroup() as posters:
            for number in range(count):
                posters.create_task(self.post(self.urls[number % len(self.urls)]))
        await self.until_all_ended()
        ends = [self.ended_at[saga_id][1] for saga_id in self.begun_at if saga_id in self.ended_at]
        return self.report(max(ends) - begun if ends else 0.0, own_cpu_seconds() - cpu)

    async def post(self, url: str) -> None:
        connection = Connection(url)
        for number in self.numbers:
            due = self.begun + number / self.rate if self.rate else 0.0
            if due:
                await asyncio.sleep(due - time.perf_counter())
            async with asyncio.timeout(STALLED_SECONDS):
                await self.slots.acquire()
            is_declined = int((number + 1) * self.declined_share) > int(number * self.declined_share)
            customer = "declined" if is_declined else "customer"
            items = [{"name": "burrito", "price": 9.99, "quantity": 2}]
            # Tests look for the mark in logs, where no customer belongs.
            details = {"foodItems": items, "deliveryLocation": "c4n4ry room 4"}
            # Another one in each run: the same order twice within seconds is something else.
            whose = f"{customer}-c4n4ry-{self.run_id}-{number}"
            body = json.dumps({"customer_id": whose, "order_details": details})
            saga_id, begun = await self.placed(connection, body)
            self.begun_at[saga_id] = due or begun
            self.changed.set()
            if saga_id in self.ended_at:
                self.slots.release()
        connection.close()

    async def placed(self, connection: "Connection", body: str) -> tuple[str, float]:
        """As a front end does: try again until it is answered with yes. The saga, and when it was first asked for.

        Raises `TimeoutError` a minute after that.
        """
        headers = f"Idempotency-Key: {uuid.uuid4()}\r\n" if self.with_keys else ""
        begun = time.perf_counter()
        while True:
            try:
                status, content = await connection.post("/orders", body.encode(), headers)
                if status == 202:
                    return str(json.loads(content)["saga_id"]), begun
            except (OSError, EOFError, ValueError, TimeoutError):
                connection.close()
            if time.perf_counter() > begun + STALLED_SECONDS:
                raise TimeoutError(f"no order was taken for {STALLED_SECONDS:.0f} s")
            self.retried += 1
            await asyncio.sleep(RETRY_SECONDS)

    def note(self, ends: Sequence[End]) -> None:
        """Sagas that have ended: each of ours makes room for the next."""
        for saga_id, status, now in ends:
            if saga_id not in self.ended_at:
                self.ended_at[saga_id] = (status, now)
                if saga_id in self.begun_at:
                    self.slots.release()
        self.changed.set()

    async def until_all_ended(self) -> None:
        """Or none does any more."""
        while not self.begun_at.keys() <= self.ended_at.keys():
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), STALLED_SECONDS)
            except TimeoutError:
                return

    def report(self, elapsed: float, cpu: float) -> dict[str, Any]:
        ended = {saga_id: self.ended_at[saga_id] for saga_id in self.begun_at if saga_id in self.ended_at}
        seconds = sorted(at - self.begun_at[saga_id] for saga_id, (_, at) in ended.items())
        return {
            "orders": self.orders,
            "retried": self.retried,
            "ended": dict(Counter(status for status, _ in ended.values())),
            "not_ended": len(self.begun_at) - len(ended),
            "sagas_per_second": round(len(ended) / elapsed, 1) if elapsed else 0.0,
            **quantiles_ms(seconds),
            "max_ms": round(seconds[-1] * 1e3, 1) if seconds else None,
            "cpu_ms_per_saga": round(cpu / max(1, len(ended)) * 1e3, 3),
            "periods": self.periods() if self.every_seconds else [],
        }

    def periods(self) -> list[dict[str, Any]]:
        took: dict[int, list[float]] = defaultdict(list)
        for saga_id, begun in self.begun_at.items():
            if saga_id in self.ended_at:
                took[int((begun - self.begun) / self.every_seconds)].append(self.ended_at[saga_id][1] - begun)
        return [{"ended": len(took[n]), **quantiles_ms(took[n])} for n in range(max(took, default=-1) + 1)]


async def listening(note: Callable[[Sequence[End]], None]) -> None:
    """From when this returns on, `note` is told on this loop of the sagas that end, whoever they are of."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def listen() -> None:
        consumer = from_now_on(Topics().saga_events)
        while True:
            polled = consumer.poll(timeout_ms=500)
            now = time.perf_counter()
            payloads = [json.loads(record.value)["payload"] for records in polled.values() for record in records]
            ends = [(one["saga_id"], one["status"], now) for one in payloads if one["status"] in ENDED]
            try:
                loop.call_soon_threadsafe(note, ends)
                loop.call_soon_threadsafe(begun.set)
            except RuntimeError:  # the loop is closed: all is measured
                return

    threading.Thread(target=listen, daemon=True).start()
    await asyncio.wait_for(begun.wait(), 30)


def from_now_on(topic: str) -> KafkaConsumer:
    """What is said on `topic` after this returns: a run does not read those before it once more."""
    brokers = os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(",")
    consumer = KafkaConsumer(bootstrap_servers=brokers, client_id="bench-load", fetch_max_wait_ms=50)
    partitions = None
    while not partitions:
        partitions = consumer.partitions_for_topic(topic)
    places = [TopicPartition(topic, partition) for partition in partitions]
    consumer.assign(places)
    consumer.seek_to_end()
    for place in places:
        consumer.position(place)  # asks the broker now
    return consumer


class Connection:
    """One that is kept, and no more of HTTP than our own server speaks: what a client costs is not to be measured."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, headers: str) -> tuple[int, bytes]:
        """Status and body. Raises `OSError`, `EOFError`, `TimeoutError`, and `ValueError` for what is no answer."""
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await self._open()
            head = f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            content = await reader.readexactly(length)
            if b"connection: close" in answer:
                self.close()
            return int(answer.split(b" ", 2)[1]), content

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.load")
    parser.add_argument("orders", type=int)
    parser.add_argument("in_flight", type=int)
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--declined", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--keys", action="store_true")
    parser.add_argument("--every", type=float, default=0.0)
    asked = parser.parse_args()
    load = Load(asked.orders, asked.in_flight, asked.urls, asked.declined, asked.rate, asked.keys, asked.every)
    print(json.dumps(asyncio.run(load.run())), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
