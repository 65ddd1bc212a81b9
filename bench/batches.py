"""What the orchestrator's transactions cost by their size: no Kafka, no HTTP, no neighbours.

    python -m bench.batches [--sizes 1,10,100,400]

Sagas are begun together and then handed the answers to what they sent, so many in each transaction, until all have
ended. Prints one line of JSON: for each size the milliseconds of a transaction on the clock and on the processor, the
best of several runs, and the straight line through those on the clock (`batch_ms` and `record_ms` of `bench.growth`).
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from bench.growth import line_through
from bench.responders import reply
from ordersaga.bus.protocol import Record
from ordersaga.delivery.clock import SystemRandom
from ordersaga.delivery.messages import OutboxRow
from ordersaga.delivery.outbox import PostgresOutbox
from ordersaga.local.postgres import PostgresServer
from ordersaga.orchestrator.runtime.circuits import Circuits
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.measuring import Measures
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.turn import New
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER, Customer, OrderData
from ordersaga.orchestrator.store.codec import Codec
from ordersaga.orchestrator.store.migrate import migrate
from ordersaga.orchestrator.store.postgres import PostgresStore, open_pool
from ordersaga.process import GC_THRESHOLD
from ordersaga.wire.ids import uuid7
from ordersaga.wire.topics import Topics

RUNS = 5
SAGAS_LEAST = 40
SCHEMA = "ordersaga"
DETAILS = {"foodItems": [{"name": "burrito", "price": 9.99, "quantity": 2}], "deliveryLocation": "room 4"}
COMMANDS = {Topics().order_commands, Topics().user_commands, Topics().payment_commands, Topics().timer_commands}


class Bench:
    def __init__(self, database_url: str) -> None:
        migrate(database_url, SCHEMA)
        pool = open_pool(database_url, SCHEMA, size_max=2)
        self.outbox = PostgresOutbox(pool, uuid4())
        self.outbox.register()
        sagas = Sagas([CREATE_ORDER])
        self.store = PostgresStore(pool, Codec(sagas.data_types()), self.outbox)
        self.sent: list[OutboxRow] = []
        counting = Counting(Measures().facts)
        gate = Circuits(silences_max=5)
        self.handler = Handler(self.store, sagas, self.sent.extend, topics=Topics(), counting=counting, gate=gate)
        self.random = SystemRandom()
        self.offset = 0

    def run(self, size: int) -> tuple[float, float]:
        """Milliseconds of a transaction that handles `size` answers: on the clock, on the processor."""
        wall, processor, transactions = 0.0, 0.0, 0
        for _ in range(max(1, SAGAS_LEAST // size)):
            self.handler.begin_all([self._new() for _ in range(size)])
            while answers := self._answers():
                before = time.perf_counter(), time.process_time()
                self.handler.records(answers)
                wall += time.perf_counter() - before[0]
                processor += time.process_time() - before[1]
                transactions += 1
        return wall * 1000 / transactions, processor * 1000 / transactions

    def _new(self) -> New:
        personal = Customer(customer_id="customer-1", order_details=DETAILS)
        data = OrderData(personal=personal, amount_cents=1998)
        return New(saga=CREATE_ORDER.name, saga_id=self._saga_id(), data=data)

    def _saga_id(self) -> UUID:
        return uuid7(int(time.time() * 1000), self.random.bytes(10))

    def _answers(self) -> list[Record]:
        rows, now = list(self.sent), datetime.now(UTC)
        self.sent.clear()
        if rows:
            self.outbox.acknowledged([row.row_id for row in rows])
        answers = []
        for sent in (row.record for row in rows):
            asked = Record(sent.topic, 0, 0, sent.key, sent.value, sent.headers, 0)
            if sent.topic in COMMANDS and (said := reply(asked, now)) is not None:
                self.offset += 1
                answers.append(Record(said.topic, 0, self.offset, said.key, said.value, said.headers, 0))
        return answers


def measure(sizes: Sequence[int]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = PostgresServer.start(directory / "postgres")
        try:
            bench = Bench(server.create_database())
            bench.run(max(sizes))
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            found = {size: [bench.run(size) for _ in range(RUNS)] for size in sizes}
            bench.store.close()
        finally:
            server.stop()
    clock = {size: min(wall for wall, _ in runs) for size, runs in found.items()}
    rows = [
        {
            "records": size,
            "clock_ms": round(clock[size], 3),
            "processor_ms": round(min(processor for _, processor in runs), 3),
        }
        for size, runs in found.items()
    ]
    batch_ms, record_ms = line_through(clock)
    return {"batch_ms": batch_ms, "record_ms": record_ms, "rows": rows}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.batches", description=__doc__)
    parser.add_argument("--sizes", default="1,10,100,400", help="records in a transaction")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    print(json.dumps(measure(sizes)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
