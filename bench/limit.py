"""A plain loop without an engine: what one five-step saga costs in kafka-python, psycopg and msgspec with nothing but
the plumbing.

The same messages, commits, history, outbox and deadline as a real saga, in one loop: no HTTP, no rules, no retries, no
recovery. What our engine does is held against it, in the same run on the same machine. It is no bound: with few in
flight ours has been the faster one. Run as a process of its own:

    python -m bench.limit SAGAS IN_FLIGHT BATCH_MAX ANNOUNCED UNCOUNTED     (KAFKA_BOOTSTRAP_SERVERS, DATABASE_URL)

Beside the ten records of its five steps each saga sends ANNOUNCED that nobody answers: three, as ours does, or none.
So many as UNCOUNTED run first, on the same topics and tables, to their ends: in what follows they are in nothing.
It prints one line of JSON: sagas_per_second, p50_ms, p99_ms, cpu_ms_per_saga (this process), responder_cpu_ms_per_saga.
"""

import json
import multiprocessing
import os
import sys
import time
import uuid
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from typing import Any

import msgspec
import psycopg

from bench.kafka_library import KafkaAdminClient, KafkaConsumer, KafkaProducer, NewTopic, TopicPartition
from bench.machine import own_cpu_seconds

STEPS = ("CREATE_ORDER", "GET_USER_DATA", "AUTHORIZE_PAYMENT", "UPDATE_ORDER_STATUS", "START_TIMER")
PAYLOAD = {
    "customer_id": "c-123",
    "order_details": {"foodItems": [{"name": "burrito", "price": 9.99, "quantity": 2}], "deliveryLocation": "room 4"},
    "saga_id": "x" * 36,
}
PAYLOAD_JSON = json.dumps(PAYLOAD)
SCHEMA = """
create table saga (id uuid primary key, status text, step text, data jsonb, deadline timestamptz, revision int,
updated_at timestamptz); create index on saga (deadline) where deadline is not null; create table history (saga_id
uuid, revision int, at timestamptz, body jsonb, primary key (saga_id, revision)); create table outbox (id bigserial
primary key, topic text, key text, value bytea);
"""
START = """
with started as (
  insert into saga select id, 'STARTED', 'CREATE_ORDER', %(payload)s::jsonb, now() + interval '30s', 1, now() from
  unnest(%(ids)s::uuid[]) id ) insert into history select id, 1, now(), %(payload)s::jsonb from
  unnest(%(ids)s::uuid[]) id
"""
LOAD = "select id::text, step, revision, data from saga where id = any(%s::uuid[]) order by id for update"
SAVE = """
update saga s set status = v.status, step = v.step, revision = v.revision, data = v.data, updated_at = now(),
  deadline = case when v.status = 'STARTED' then now() + interval '30s' end
from unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::jsonb[]) v(id, status, step, revision, data) where s.id
= v.id
"""
REMEMBER = """
insert into history select id, revision, now(), body
from unnest(%s::uuid[], %s::int[], %s::jsonb[]) v(id, revision, body)
"""
KEEP = (
    "insert into outbox (topic, key, value) select t, k, v from unnest(%s::text[], %s::text[], %s::bytea[]) x(t, k, v)"
    " returning id"
)


class Envelope(msgspec.Struct):
    type: str
    correlation_id: str
    timestamp: str
    payload: dict[str, Any]
    source: str = ""
    message_id: str = ""


ENCODE = msgspec.json.Encoder().encode
DECODE = msgspec.json.Decoder(Envelope).decode


class Limit:
    def __init__(self, in_flight: int, batch_max: int, announced: int) -> None:
        self.in_flight, self.batch_max, self.announced = in_flight, batch_max, announced
        self.brokers = os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(",")
        run = uuid.uuid4().hex[:6]
        self.commands, self.events, self.news = (f"limit-{what}-{run}" for what in ("commands", "events", "news"))
        self.begun_at: dict[str, float] = {}
        self.sagas = self.started = 0
        """To be run, and begun so far."""
        self.seconds: list[float] = []
        """That each of those that have ended took."""

    def run(self, sagas: int, uncounted: int) -> dict[str, float]:
        admin = KafkaAdminClient(bootstrap_servers=self.brokers)
        admin.create_topics([NewTopic(topic, 6, 1) for topic in (self.commands, self.events, self.news)])
        admin.close()
        database = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        database.execute(SCHEMA)
        database.autocommit = False
        stop, responder_cpu = multiprocessing.Event(), multiprocessing.Value("d", 0.0)
        responder = multiprocessing.Process(target=respond, args=(self, stop, responder_cpu))
        responder.start()
        self.producer, self.consumer, self.database = producer(self.brokers), consumer(self, self.events), database
        self.work(uncounted)
        cpu, answering, begun = own_cpu_seconds(), responder_cpu.value, time.perf_counter()
        seconds = self.work(sagas)
        elapsed, cpu = time.perf_counter() - begun, own_cpu_seconds() - cpu
        stop.set()
        responder.join(20)
        return {
            "sagas_per_second": round(sagas / elapsed, 1),
            "p50_ms": round(seconds[sagas // 2] * 1e3, 1),
            "p99_ms": round(seconds[int(sagas * 0.99)] * 1e3, 1),
            "cpu_ms_per_saga": round(cpu / sagas * 1e3, 3),
            "responder_cpu_ms_per_saga": round((responder_cpu.value - answering) / sagas * 1e3, 3),
        }

    def work(self, sagas: int) -> list[float]:
        """So many, from the first to the last end. How long each took, in seconds, sorted."""
        self.sagas, self.started, self.seconds = sagas, 0, []
        while len(self.seconds) < self.sagas:
            self.turn()
        return sorted(self.seconds)

    def turn(self) -> None:
        """One batch: begin what is missing, move on what was answered, commit, publish, delete from the outbox."""
        room = self.in_flight - (self.started - len(self.seconds))
        begin = [str(uuid.uuid4()) for _ in range(min(room, self.sagas - self.started, self.batch_max))]
        self.begun_at.update(dict.fromkeys(begin, time.perf_counter()))
        self.started += len(begin)
        polled = self.consumer.poll(timeout_ms=0 if begin else 50)
        events = [DECODE(record.value) for records in polled.values() for record in records]
        if not (begin or events):
            return
        out = [(self.commands, saga_id, command(saga_id, STEPS[0])) for saga_id in begin]
        out += [self.news_of(saga_id, 0) for saga_id in begin if self.announced]
        cursor = self.database.cursor()
        if begin:
            cursor.execute(START, {"payload": PAYLOAD_JSON, "ids": begin})
        if events:
            out += self.move_on(cursor, events)
        kept = []
        if out:
            kept = cursor.execute(KEEP, [list(column) for column in zip(*out, strict=True)]).fetchall()
        self.database.commit()
        futures = [self.producer.send(topic, key=key.encode(), value=value) for topic, key, value in out]
        for future in futures:
            future.get(10)
        if kept:
            cursor.execute("delete from outbox where id = any(%s)", ([row[0] for row in kept],))
            self.database.commit()
        if events:
            self.consumer.commit_async()

    def move_on(self, cursor: psycopg.Cursor[Any], events: Sequence[Envelope]) -> list[tuple[str, str, bytes]]:
        rows = {row[0]: row for row in cursor.execute(LOAD, (sorted({event.correlation_id for event in events}),))}
        out, saves, bodies = [], [], []
        for event in events:
            saga_id = event.correlation_id
            _, step, revision, data = rows[saga_id]
            position = STEPS.index(step) + 1
            data[f"done_{position}"] = position
            if position == len(STEPS):
                status = "COMPLETED"
                out += [self.news_of(saga_id, number) for number in range(1, self.announced)]
                self.seconds.append(time.perf_counter() - self.begun_at.pop(saga_id))
            else:
                status, step = "STARTED", STEPS[position]
                out.append((self.commands, saga_id, command(saga_id, step)))
            saves.append((saga_id, status, step, revision + 1, ENCODE(data).decode()))
            bodies.append(ENCODE(event).decode())
        columns = [list(column) for column in zip(*saves, strict=True)]
        cursor.execute(SAVE, columns)
        cursor.execute(REMEMBER, (columns[0], columns[3], bodies))
        return out

    def news_of(self, saga_id: str, number: int) -> tuple[str, str, bytes]:
        """The first when it begins, the others when it ends."""
        return self.news, saga_id, command(saga_id, f"NEWS_{number}")


def command(saga_id: str, step: str) -> bytes:
    message_id = str(uuid.uuid5(uuid.NAMESPACE_OID, saga_id + step))
    return ENCODE(Envelope(step, saga_id, "2026-01-02T12:00:00Z", PAYLOAD, "limit", message_id))


def producer(brokers: list[str]) -> KafkaProducer:
    return KafkaProducer(bootstrap_servers=brokers, acks="all", linger_ms=2, batch_size=262144)


def consumer(limit: Limit, topic: str) -> KafkaConsumer:
    found = KafkaConsumer(
        bootstrap_servers=limit.brokers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=limit.batch_max,
        fetch_max_wait_ms=50,
        group_id=f"limit-{topic}",
    )
    partitions = None
    while not partitions:
        partitions = found.partitions_for_topic(topic)
    found.assign([TopicPartition(topic, partition) for partition in partitions])
    found.seek_to_beginning()
    return found


def respond(limit: Limit, stop: Event, cpu: Any) -> None:
    """Answers every command at once, and keeps `cpu` at the seconds that this process has used."""
    commands, answers = consumer(limit, limit.commands), producer(limit.brokers)
    while not stop.is_set():
        futures = []
        for records in commands.poll(timeout_ms=100).values():
            for record in records:
                asked = DECODE(record.value)
                answer = Envelope(
                    "done", asked.correlation_id, asked.timestamp, asked.payload, "svc", str(uuid.uuid4())
                )
                futures.append(answers.send(limit.events, key=record.key, value=ENCODE(answer)))
        for future in futures:
            future.get(10)
        if futures:
            commands.commit()
        cpu.value = own_cpu_seconds()


def main() -> None:
    sagas, in_flight, batch_max, announced, uncounted = (int(argument) for argument in sys.argv[1:6])
    print(json.dumps(Limit(in_flight, batch_max, announced).run(sagas, uncounted)), flush=True)
    # The client's threads may hang on exit; there is nothing left to lose.
    os._exit(0)


if __name__ == "__main__":
    main()
