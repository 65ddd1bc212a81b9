"""Orders that come at their times whatever becomes of them, far more than can be served; nobody asks twice.

    python -m bench.flood RATE:SECONDS[,RATE:SECONDS...] URL          (KAFKA_BOOTSTRAP_SERVERS)

Each comes once, over the next connection that is free, of which there are `CONNECTIONS_MAX` at most, as from many
front ends; who has got none after `PATIENCE_SECONDS` goes away. When all have come, it waits for those that were taken
to end. Prints one line of JSON: for each second, by when an order was to come, how many came, were taken, were refused
(with and without `Retry-After`), failed otherwise, went away; the milliseconds of the POSTs that were taken, from when
each was to come, and of their sagas.

Written on bare transports: it has to ask faster than what it asks can answer, on the same machine.
"""

import argparse
import asyncio
import json
import os
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench.figures import quantiles_ms
from bench.load import End, listening

CONNECTIONS_MAX = 600
PATIENCE_SECONDS = 10.0
STALLED_SECONDS = 60.0
TICK_SECONDS = 0.004
REFUSALS = frozenset({429, 503})
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SAGA_ID = re.compile(rb'"saga_id": *"([0-9a-f-]{36})"')


@dataclass(slots=True)
class Arrival:
    due: float
    body: bytes


@dataclass
class Second:
    came: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    posts: list[float] = field(default_factory=list)
    sagas: list[tuple[str, float]] = field(default_factory=list)
    """Those that were taken, and when they were to come."""


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, flood: "Flood") -> None:
        self._flood = flood
        self._received = b""
        self._arrival: Arrival | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, arrival: Arrival) -> None:
        assert self._transport is not None, "it is connected"
        self._arrival, self._received = arrival, b""
        self._transport.write(self._flood.head + b"%d\r\n\r\n" % len(arrival.body) + arrival.body)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if found else None
        if self._arrival is None or not found or len(body) < (int(length[1]) if length else 0):
            return
        arrival, self._arrival = self._arrival, None
        self._flood.answered(arrival, int(head[9:12]), head.lower(), body)
        if b"\r\nconnection: close" in head.lower():
            self.end()
        else:
            self._flood.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._arrival is not None:
            arrival, self._arrival = self._arrival, None
            self._flood.broken(arrival)
        self._flood.lost(self)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Flood:
    def __init__(self, phases: Sequence[tuple[float, float]], url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self.head = (
            f"POST /orders HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()
        self._phases = phases
        self.seconds: list[Second] = []
        self._idle: list[Line] = []
        self._waiting: deque[Arrival] = deque()
        self._connections = 0
        self._asking = 0
        """Orders that are asked for and not answered."""
        self._connecting: set[asyncio.Task[None]] = set()
        self.ended_at: dict[str, tuple[str, float]] = {}

    async def run(self) -> dict[str, Any]:
        await listening(self.note)
        self._begun, number, due = time.perf_counter(), 0, 0.0
        for rate, seconds in self._phases:
            end = due + seconds
            while due < end:
                while due < end and self._begun + due <= time.perf_counter():
                    self._come(number, self._begun + due)
                    number, due = number + 1, due + 1 / rate
                self._serve()
                await asyncio.sleep(TICK_SECONDS)
        while self._waiting or self._asking:
            self._serve()
            await asyncio.sleep(TICK_SECONDS)
        await self._until_all_ended()
        return self.report()

    def _come(self, number: int, due: float) -> None:
        order = {"foodItems": [{"name": "burrito", "price": 9.99, "quantity": 2}], "deliveryLocation": "room 4"}
        body = json.dumps({"customer_id": f"customer-{number}", "order_details": order}).encode()
        self._waiting.append(Arrival(due, body))
        self._second(due).came += 1

    def _second(self, due: float) -> Second:
        index = int(due - self._begun)
        while len(self.seconds) <= index:
            self.seconds.append(Second())
        return self.seconds[index]

    def _serve(self) -> None:
        """Who waits gets a connection, or goes away."""
        now = time.perf_counter()
        while self._waiting and now - self._waiting[0].due > PATIENCE_SECONDS:
            self.failed(self._waiting.popleft(), "went away")
        while self._waiting and self._idle:
            self._ask(self._idle.pop())
        for _ in range(min(len(self._waiting), CONNECTIONS_MAX - self._connections, 50)):
            self._connections += 1
            connecting = asyncio.ensure_future(self._connect())
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        try:
            _, line = await asyncio.get_running_loop().create_connection(lambda: Line(self), self._host, self._port)
        except OSError:
            self._connections -= 1
            if self._waiting:
                self.failed(self._waiting.popleft(), "not connected")
        else:
            self.free(line)

    def free(self, line: Line) -> None:
        if self._waiting:
            self._ask(line)
        else:
            self._idle.append(line)

    def _ask(self, line: Line) -> None:
        self._asking += 1
        line.ask(self._waiting.popleft())

    def lost(self, line: Line) -> None:
        self._connections -= 1
        if line in self._idle:
            self._idle.remove(line)

    def broken(self, arrival: Arrival) -> None:
        """The connection ended before the answer."""
        self._asking -= 1
        self.failed(arrival, "connection lost")

    def failed(self, arrival: Arrival, how: str) -> None:
        self._second(arrival.due).outcomes[how] += 1

    def answered(self, arrival: Arrival, status: int, head: bytes, body: bytes) -> None:
        self._asking -= 1
        second, now = self._second(arrival.due), time.perf_counter()
        if status == 202:
            found = _SAGA_ID.search(body)
            assert found, "an order that is taken has a saga"
            second.sagas.append((found[1].decode(), arrival.due))
            second.posts.append(now - arrival.due)
            second.outcomes["taken"] += 1
        elif status in REFUSALS:
            second.outcomes["refused" if b"\r\nretry-after: " in head else "refused without retry-after"] += 1
        else:
            second.outcomes[f"status {status}"] += 1

    def note(self, ends: Sequence[End]) -> None:
        for saga_id, status, now in ends:
            self.ended_at.setdefault(saga_id, (status, now))

    async def _until_all_ended(self) -> None:
        """Or none does any more."""
        taken, ended, since = {saga_id for one in self.seconds for saga_id, _ in one.sagas}, -1, time.perf_counter()
        while not taken <= self.ended_at.keys() and time.perf_counter() - since < STALLED_SECONDS:
            if len(self.ended_at) != ended:
                ended, since = len(self.ended_at), time.perf_counter()
            await asyncio.sleep(0.1)

    def report(self) -> dict[str, Any]:
        everything = [saga_id for one in self.seconds for saga_id, _ in one.sagas]
        ended = [self.ended_at[saga_id] for saga_id in everything if saga_id in self.ended_at]
        return {
            "taken": len(everything),
            "ended": dict(Counter(status for status, _ in ended)),
            "not_ended": len(everything) - len(ended),
            "last_ended_second": round(max((at for _, at in ended), default=self._begun) - self._begun, 1),
            "seconds": [self._told(one) for one in self.seconds],
        }

    def _told(self, one: Second) -> dict[str, Any]:
        took = [self.ended_at[saga_id][1] - due for saga_id, due in one.sagas if saga_id in self.ended_at]
        return {
            "came": one.came,
            **one.outcomes,
            "posts_ms": [round(each * 1e3, 1) for each in one.posts],
            "sagas_ms": [round(each * 1e3, 1) for each in took],
            "saga_p50_ms": quantiles_ms(took)["p50_ms"],
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.flood")
    parser.add_argument("phases", help="RATE:SECONDS, comma-separated")
    parser.add_argument("url")
    asked = parser.parse_args()
    pairs = (one.split(":") for one in asked.phases.split(","))
    flood = Flood([(float(rate), float(seconds)) for rate, seconds in pairs], asked.url)
    print(json.dumps(asyncio.run(flood.run())), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
