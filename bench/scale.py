"""What it is like after a year: the same work beside millions of sagas that are over, and beside many that wait.

    python -m bench.scale [--stored 1000000] [--waiting 100000] [--due 10000] [--orders 6000] [--rounds 3]
                          [--without archive,due,...]

One broker, one database server with two databases: an empty one, and one that holds `stored` sagas of the last 26
weeks with their whole history, copies of some that really ran. Measured, in this order:

    rate       orders, 128 in flight, in turn on the one and the other; the ratio counts
    reads      GET /stats and /sagas pages at any depth, p50 and p99
    waiting    the same beside `waiting` sagas in flight, half of them waiting for an answer, half for a runner
    due        of those, windows of `due` sagas that run out at once, beside orders at a steady rate
    archive    everything that is older than a day moved out, beside orders; how long anybody waited for a lock

Progress goes to standard error; standard output ends with one line of JSON. A million sagas take 20 GB of disk.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from bench.filling import Filling
from bench.runners import acceptance
from bench.stage import Measured, Stage, rss_mib
from ordersaga.bus.kafka import KafkaBus
from ordersaga.demo.client import Api

IN_FLIGHT = 128
DAYS = 182
ORIGINALS = 200
READS = 300
WAIT_SECONDS = 60.0
PARTS = ("rate", "reads", "waiting", "due", "archive")
DATABASE = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    # Whoever waits longer for a lock is named in the log, with how long.
    "log_lock_waits": "on",
    "deadlock_timeout": "5ms",
}
SETTINGS = {
    "ORDERSAGA_SAGAS_STARTED_MAX": "1000000",
    "ORDERSAGA_STEP_TIMEOUT_SECONDS": "3600",
    "ORDERSAGA_ARCHIVE_AFTER_DAYS": "0",  # nothing is moved before we say so
}
_WAITED = re.compile(r"acquired (\w+ on .+?) after ([0-9.]+) ms")


class Scale:
    def __init__(self, stage: Stage, asked: argparse.Namespace) -> None:
        self.stage = stage
        self.orders, self.rounds = int(asked.orders), int(asked.rounds)
        self.empty = stage.database_url

    def rate(self) -> dict[str, Any]:
        """In turn, so that a machine that gets slower is so for both."""
        found: dict[str, list[Measured]] = {"empty": [], "stored": []}
        for number in range(self.rounds):
            for name, url in (("empty", self.empty), ("stored", self.stored)):
                self.stage.move_to(url)
                one = self.stage.saga(self.orders, IN_FLIGHT)
                found[name].append(one)
                _say(f"  {number + 1}. {name}: {_told(one)}")
        return _beside(found, "stored")

    def fill(self, count: int) -> None:
        """A database with so many sagas, whose tables are settled."""
        self.stored = self.stage.postgres.create_database()
        self.stage.move_to(self.stored)
        _say("sagas to make copies of ...")
        self.stage.saga(5 * ORIGINALS, IN_FLIGHT, declined=0.2, warm_up=False)
        waiting = self._ids("status = 'COMPLETED'", 2 * ORIGINALS)
        self._accept(waiting[:ORIGINALS])
        self.filling = Filling(self.stored, _say)
        closed = waiting[: ORIGINALS * 4 // 5]
        self.filling.originals("over", closed + self._ids("status = 'COMPENSATED'", ORIGINALS - len(closed)))
        self.filling.originals("to accept", waiting[ORIGINALS:])
        for process in self.stage.participants:
            process.freeze()
        self.filling.originals("to answer", self._unanswered())
        for process in self.stage.participants:
            process.thaw()
        now = datetime.now(UTC)
        begun = time.monotonic()
        until = now - timedelta(hours=2)
        self.filling.copies("over", count, since=now - timedelta(days=DAYS), until=until)
        self.filling.statistics(DAYS)
        self.filling.settle()
        size = self._one("SELECT pg_database_size(current_database())")
        _say(f"  in {time.monotonic() - begun:.0f} s, {size / 1e9:.1f} GB")

    def reads(self) -> dict[str, Any]:
        """Milliseconds of the same request often repeated, one at a time, at a service with nothing else to do."""
        days = (datetime.now(UTC) - timedelta(days=DAYS)).strftime("%Y-%m-%dT%H:%M:%SZ")
        somewhere = [
            str(one)
            for one in self._ids_of(f"SELECT id FROM sagas TABLESAMPLE BERNOULLI (1) ORDER BY random() LIMIT {READS}")
        ]
        paths: Mapping[str, Callable[[int], str]] = {
            "stats of a day": lambda n: "/stats",
            "stats of half a year": lambda n: f"/stats?since={days}&by=day",
            "newest page": lambda n: "/sagas",
            "page anywhere": lambda n: f"/sagas?before={somewhere[n % len(somewhere)]}",
            "page of a common status anywhere": lambda n: (
                f"/sagas?status=COMPENSATED&before={somewhere[n % len(somewhere)]}"
            ),
            "page of a status that none has": lambda n: f"/sagas?status=FAILED&before={somewhere[n % len(somewhere)]}",
            "page of all statuses": lambda n: (
                f"/sagas?status=COMPLETED&status=CANCELLED&before={somewhere[n % len(somewhere)]}"
            ),
            "one": lambda n: f"/sagas/{somewhere[n % len(somewhere)]}",
            "metrics": lambda n: "/metrics",
        }
        found = {name: self._read(path) for name, path in paths.items()}
        for name, one in found.items():
            _say(f"  {name}: p50 {one['p50_ms']} ms, p99 {one['p99_ms']} ms")
        return found

    def waiting(self, count: int) -> dict[str, Any]:
        now = datetime.now(UTC)
        due = now + timedelta(hours=6)
        before = self.stage.saga(self.orders, IN_FLIGHT)
        _say(f"  before: {_told(before)}")
        self.filling.copies("to answer", count // 2, since=now - timedelta(hours=1), until=now, due=due)
        self.filling.copies("to accept", count // 2, since=now - timedelta(hours=1), until=now, due=due)
        self.filling.settle()
        beside = self.stage.saga(self.orders, IN_FLIGHT)
        _say(f"  beside {count:,} in flight: {_told(beside)}")
        in_flight = self._one("SELECT count(*) FROM deadlines")
        rss = max(rss_mib(process.pid) for process in self.stage.orchestrators)
        return _beside({"before": [before], "beside": [beside]}, "beside") | {
            "deadlines": in_flight,
            "orchestrator_rss_mib": rss,
            "reads": self.reads(),
        }

    def due(self, count: int, rate: float) -> dict[str, Any]:
        """The windows of so many sagas are moved to now; how long until each of them is taken back."""
        calm = self.stage.saga(int(rate * 20), 100_000, rate=rate, warm_up=False)
        load = self.stage.load(int(rate * 30), 100_000, rate=rate)
        time.sleep(5)
        begun = time.monotonic()
        with self._connected() as connection:
            connection.execute(
                "CREATE TEMP TABLE late ON COMMIT DROP AS SELECT saga_id FROM deadlines"
                " WHERE kind = 'window' AND due_at > now() + interval '2 hours' ORDER BY saga_id LIMIT %s",
                (count,),
            )
            connection.execute(
                "UPDATE sagas s SET state = state || jsonb_build_object('window_ends_at', now())"
                " FROM late WHERE late.saga_id = s.id"
            )
            connection.execute("UPDATE deadlines d SET due_at = now() FROM late WHERE late.saga_id = d.saga_id")
            late = [row[0] for row in connection.execute("SELECT saga_id FROM late")]
        if len(late) < count:
            load.kill()
            raise RuntimeError(
                f"{len(late)} windows are open: `due` needs {count} of what `waiting` makes, see --waiting"
            )
        asked = "SELECT count(*) FROM deadlines WHERE kind = 'window' AND due_at <= now()"
        noticed = self._until(lambda: self._one(asked) == 0, begun)
        over = "SELECT count(*) FROM sagas WHERE id = ANY(%s) AND status = 'CANCELLED'"
        ended = self._until(lambda: self._one(over, late) == len(late), begun)
        beside = _ended(load)
        _say(f"  {len(late):,} due at once: all noticed after {noticed} s, all taken back after {ended} s")
        return {
            "due": len(late),
            "noticed_seconds": noticed,
            "taken_back_seconds": ended,
            "orders_a_second": rate,
            "p99_ms": {"calm": calm.p99_ms, "meanwhile": beside["p99_ms"]},
            "orders_not_ended": beside["not_ended"],
        }

    def archive(self) -> dict[str, Any]:
        """As fast as `ordersaga archive run` moves them, beside orders as many as come in."""
        log = self.stage.postgres.process.log_path
        without = self.stage.saga(self.orders, IN_FLIGHT)
        _say(f"  without: {_told(without)}")
        start, begun = log.stat().st_size, time.monotonic()
        before, moved = self._one("SELECT count(*) FROM archive"), 0
        argv = [sys.executable, "-m", "ordersaga.cli", "archive", "run", "--older-than-days", "1"]
        beside: list[Measured] = []
        with _process(argv, self.stage.environment) as running:
            while running.poll() is None:
                beside.append(self.stage.saga(self.orders, IN_FLIGHT, warm_up=False))
                moved = self._one("SELECT count(*) FROM archive") - before
                _say(f"  {moved:,} moved: {_told(beside[-1])}")
            if running.returncode:
                raise RuntimeError(f"`ordersaga archive run` ended with {running.returncode}")
        seconds = time.monotonic() - begun
        after = self.stage.saga(self.orders, IN_FLIGHT)
        one = self._ids_of("SELECT saga_id FROM archive ORDER BY random() LIMIT 1")
        restoring = time.monotonic()
        subprocess.run([*argv[:4], "restore", *map(str, one)], env=dict(self.stage.environment), check=True)
        whole = beside[:-1] or beside
        rate = statistics.fmean(run.sagas_per_second for run in whole)
        others = statistics.fmean((without.sagas_per_second, after.sagas_per_second))
        return {
            "moved": moved,
            "seconds": round(seconds, 1),
            "sagas_per_second": round(moved / seconds),
            "orders_per_second": {"without": round(others, 1), "beside": round(rate, 1)},
            "orders_lost_percent": round(100 * (1 - rate / others), 1),
            "p99_ms": {"without": without.p99_ms, "beside": max(run.p99_ms for run in whole)},
            "lock_waits_over_5_ms": self._named(_lock_waits(log, start)),
            "restore_seconds": round(time.monotonic() - restoring, 2),
        }

    def _named(self, waits: dict[str, Any]) -> dict[str, Any]:
        """The server's log has the numbers of relations."""

        def name(found: re.Match[str]) -> str:
            return str(self._one("SELECT %s::oid::regclass", int(found[1])))

        told = [re.sub(r"relation (\d+) of database \d+", name, one) for one in waits["longest_for"]]
        return waits | {"longest_for": told}

    def _accept(self, ids: Sequence[UUID]) -> None:
        """A runner takes each."""
        bus = KafkaBus(self.stage.environment["KAFKA_BOOTSTRAP_SERVERS"])
        producer, now = bus.producer(client_id="bench-runners"), datetime.now(UTC)
        producer.publish([acceptance(str(saga_id), f"o-{saga_id}", now) for saga_id in ids], 10.0)
        producer.close(2.0)
        closed = "SELECT count(*) FROM sagas WHERE id = ANY(%s) AND state ? 'accepted'"
        self._until(lambda: self._one(closed, ids) == len(ids), time.monotonic())

    def _unanswered(self) -> list[UUID]:
        """Sagas whose first command is out."""
        api = Api(self.stage.urls[0])
        order = {"foodItems": [{"name": "burrito", "price": 9.99, "quantity": 2}], "deliveryLocation": "room 4"}
        ids = [UUID(api.place({"customer_id": f"late-{n}", "order_details": order})) for n in range(20)]
        self._until(lambda: self._one("SELECT count(*) FROM outbox") == 0, time.monotonic())
        return ids

    def _read(self, path: Callable[[int], str]) -> dict[str, float]:
        connection, took = HTTPConnection(self.stage.urls[0].removeprefix("http://"), timeout=30), []
        for number in range(READS):
            begun = time.perf_counter()
            connection.request("GET", path(number))
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"GET {path(number)} is answered {answer.status}")
            took.append((time.perf_counter() - begun) * 1000)
        connection.close()
        took.sort()
        return {"p50_ms": round(took[len(took) // 2], 1), "p99_ms": round(took[int(len(took) * 0.99)], 1)}

    def _until(self, is_so: Callable[[], bool], begun: float) -> float:
        """Seconds since `begun`."""
        end = time.monotonic() + WAIT_SECONDS * 5
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(f"not so within {WAIT_SECONDS * 5:.0f} s; the logs are with the stage")
            time.sleep(0.1)
        return round(time.monotonic() - begun, 1)

    def _ids(self, condition: str, count: int) -> list[UUID]:
        return self._ids_of(f"SELECT id FROM sagas WHERE {condition} ORDER BY id LIMIT {count}")

    def _ids_of(self, query: str) -> list[UUID]:
        with self._connected() as connection:
            return [row[0] for row in connection.execute(query.encode())]

    def _one(self, query: str, *parameters: object) -> Any:
        with self._connected() as connection:
            found = connection.execute(query.encode(), parameters or None).fetchone()
        assert found, "an aggregate has a row"
        return found[0]

    def _connected(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.stage.database_url, options="-c search_path=ordersaga,public")


@contextmanager
def _process(argv: Sequence[str], environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(argv, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _ended(load: "subprocess.Popen[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(load.communicate(timeout=600)[0].splitlines()[-1])
    return found


def _lock_waits(log: Path, start: int) -> dict[str, Any]:
    """From the server's log, from this byte on: it names whoever got a lock after 5 ms or more of waiting."""
    with log.open("rb") as file:
        file.seek(start)
        found = _WAITED.findall(file.read().decode(errors="replace"))
    waits = sorted(((float(after), what) for what, after in found), reverse=True)
    return {
        "count": len(waits),
        "longest_ms": waits[0][0] if waits else 0.0,
        "longest_for": [what for _, what in waits[:5]],
    }


def _beside(found: Mapping[str, Sequence[Measured]], name: str) -> dict[str, Any]:
    """The rates and latencies of each, and the ratio of `name` to the other."""
    rates = {one: statistics.fmean(run.sagas_per_second for run in runs) for one, runs in found.items()}
    (other,) = rates.keys() - {name}
    return {
        "ratio": round(rates[name] / rates[other], 3),
        "sagas_per_second": {one: [run.sagas_per_second for run in runs] for one, runs in found.items()},
        "p99_ms": {one: [run.p99_ms for run in runs] for one, runs in found.items()},
        "cpu_ms": {one: [run.cpu_ms for run in runs] for one, runs in found.items()},
    }


def _told(one: Measured) -> str:
    return f"{one.sagas_per_second:.0f}/s, p50 {one.p50_ms:.0f} ms, p99 {one.p99_ms:.0f} ms"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    parts = [part for part in PARTS if part not in asked.without.split(",")]
    report: dict[str, Any] = {"stored": asked.stored}
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with Stage(directory, participants="light", settings=SETTINGS, database=DATABASE) as stage:
            scale = Scale(stage, asked)
            _say("warming up ...")
            stage.saga(1000, IN_FLIGHT)
            scale.fill(asked.stored)
            runs: Mapping[str, Callable[[], dict[str, Any]]] = {
                "rate": scale.rate,
                "reads": scale.reads,
                "waiting": lambda: scale.waiting(asked.waiting),
                "due": lambda: scale.due(asked.due, asked.rate),
                "archive": scale.archive,
            }
            for part in parts:
                _say(f"{part} ...")
                report[part] = runs[part]()
                _say(json.dumps(report[part]))
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench.scale", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--stored", type=int, default=1_000_000, help="sagas that are over")
    parser.add_argument("--waiting", type=int, default=100_000, help="sagas in flight")
    parser.add_argument("--due", type=int, default=10_000, help="windows that run out at once")
    parser.add_argument("--rate", type=float, default=50.0, help="orders a second beside them")
    parser.add_argument("--orders", type=int, default=6000, help="orders of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each database")
    parser.add_argument("--without", default="", help=f"parts to leave out, of {','.join(PARTS)}")
    print(json.dumps(measure(parser.parse_args())), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
