"""The parts that a measurement runs on, each a process: one broker, one database server, the orchestrator, who
answers, who orders.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil  # type: ignore[import-untyped]
import psycopg

from bench.machine import machine
from bench.runners import READY
from ordersaga.demo.client import Api
from ordersaga.demo.stage import PARTICIPANTS, READY_SECONDS
from ordersaga.local.kafka import KafkaCluster
from ordersaga.local.ports import free_ports
from ordersaga.local.postgres import PostgresServer
from ordersaga.local.processes import Process
from ordersaga.settings_reading import without_settings

API = ("--only", "api")
REST = ("--only", "worker", "--only", "deadlines", "--only", "status")
LIMIT_BATCH_MAX = 500
LIMIT_ANNOUNCED = 3
"""As many records that nobody answers as an order of ours has."""
UNCOUNTED = 200
"""Orders before each measurement, of ours as of the loop."""
ACCEPTED_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    sagas_per_second: float
    p50_ms: float
    p99_ms: float
    ended: dict[str, int] = field(default_factory=dict)
    not_ended: int = 0
    retried: int = 0
    """How often one was refused and asked for again; what that took is in the times."""
    cpu_ms: dict[str, float] = field(default_factory=dict)
    """CPU milliseconds a saga, per group of processes; of the measured time only."""
    messages: float = 0.0
    """Records that the orchestrator sent or took in, a saga."""
    wal_kb: float = 0.0
    kafka_kb: float = 0.0
    stored_kb: float = 0.0
    """Written to the database's log, into Kafka (one copy), and what the database has grown by, a saga."""
    orchestrator_rss_mib: float = 0.0
    """Of its largest process, at the end."""


class Stage:
    def __init__(
        self,
        directory: Path,
        *,
        participants: str,
        orchestrators: int = 1,
        kinds: str = "full",
        nodes: int = 1,
        apart: bool = False,
        settings: Mapping[str, str] | None = None,
        database: Mapping[str, str] | None = None,
    ) -> None:
        """`participants` are light, reference or none; `kinds` is what the orchestrator takes them for: bare or full;
        `apart`: each orchestrator is two processes, one that takes orders and one that does the rest.
        `settings` are further ones, as in the environment; `database` those of the database server.
        """
        self._settings = dict(settings or {})
        self._database_settings = dict(database or {})
        self._nodes = nodes
        self._apart = apart
        self._directory = directory
        self._participants = participants
        ports = free_ports(2 * orchestrators)
        self._ports, self._rest_ports = ports[:orchestrators], ports[orchestrators:]
        self._kinds = kinds
        self._processes: dict[str, list[Process]] = {}

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    @property
    def rest_urls(self) -> list[str]:
        """Where those tell how they are that take no orders."""
        return [f"http://127.0.0.1:{port}" for port in self._rest_ports]

    def __enter__(self) -> Self:
        self.kafka = KafkaCluster.start(self._nodes, self._directory / "kafka")
        self.postgres = PostgresServer.start(self._directory / "postgres", self._database_settings)
        self.database_url = self.postgres.create_database()
        self.connect()
        for number in range(len(self._ports)):
            self.start_orchestrator(number)
        self.start_participants()
        for number in range(len(self._ports)):
            self.wait_ready(number)
        return self

    def connect(self) -> None:
        """Where the processes find Kafka and the database, and how they are set."""
        self._environment = {
            **without_settings(os.environ),
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "ORDERSAGA_LOG_LEVEL": "WARNING",
            "ORDERSAGA_PARTICIPANTS_HTTP_PORT": "0",
            **{f"ORDERSAGA_PARTICIPANT_{name.upper()}": self._kinds for name in PARTICIPANTS},
            **self._settings,
        }

    def start_orchestrator(self, number: int) -> None:
        own = {"ORDERSAGA_HTTP_PORT": str(self._ports[number]), "ORDERSAGA_INSTANCE_ID": f"orchestrator-{number}"}
        self._start("orchestrator", "ordersaga.cli", "serve", *(API if self._apart else ()), environment=own)
        if self._apart:
            of_rest = {"ORDERSAGA_HTTP_PORT": str(self._rest_ports[number])}
            of_rest["ORDERSAGA_INSTANCE_ID"] = f"orchestrator-{number}-rest"
            self._start("orchestrator", "ordersaga.cli", "serve", *REST, environment=of_rest)

    def move_to(self, database_url: str) -> None:
        """All orchestrators end and come back on another database; nothing may be under way. Kafka stays."""
        for process in self._processes.pop("orchestrator"):
            process.stop(12.0)
        self.database_url = database_url
        self.connect()
        for number in range(len(self._ports)):
            self.start_orchestrator(number)
        for number in range(len(self._ports)):
            self.wait_ready(number)

    def start_participants(self) -> None:
        if self._participants == "light":
            self._start("participants", "bench.responders")
        elif self._participants == "reference":
            for name in PARTICIPANTS:
                self._start("participants", "ordersaga.cli", "participants", name)

    @property
    def participants(self) -> list[Process]:
        return self._processes["participants"]

    @property
    def environment(self) -> Mapping[str, str]:
        """What each process gets."""
        return self._environment

    @property
    def orchestrators(self) -> list[Process]:
        return self._processes["orchestrator"]

    def wait_ready(self, number: int) -> None:
        """Until orchestrator `number` says that it is."""
        first = number * (2 if self._apart else 1)
        self.orchestrators[first].wait_ready(Api(self.urls[number]).ready, READY_SECONDS)
        if self._apart:
            self.orchestrators[first + 1].wait_ready(Api(self.rest_urls[number]).ready, READY_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (process for group in self._processes.values() for process in group):
            process.stop(12.0)
        self.postgres.stop()
        self.kafka.stop()

    def saga(
        self,
        orders: int,
        in_flight: int,
        *,
        declined: float = 0.0,
        rate: float = 0.0,
        warm_up: bool = True,
        only: int | None = None,
        accepted: bool = False,
    ) -> Measured:
        """`declined`: the share of orders that are taken back; `rate`: orders a second, whatever becomes of them;
        `only`: at this orchestrator; `accepted`: a runner takes each right after its completion: that counts in
        all figures, and the times end at the completion.
        """
        how, urls = ["--declined", str(declined), "--rate", str(rate)], self.urls if only is None else [self.urls[only]]
        open_before = self._open_count() if accepted else 0

        def placed(number: int) -> dict[str, Any]:
            told = self._run("bench.load", *how, str(number), str(in_flight), *urls)
            if accepted:
                self._wait_accepted(open_before)
            return told

        with self.runners() if accepted else nullcontext():
            if warm_up:
                placed(min(UNCOUNTED, orders))
            before, messages, written = self.cpu_seconds(), self._messages(), self.written()
            found = placed(orders)
            after = self.cpu_seconds()
        cpu_ms = {name: round((after[name] - before[name]) / orders * 1e3, 3) for name in after}
        return Measured(
            sagas_per_second=found["sagas_per_second"],
            p50_ms=found["p50_ms"] or 0.0,
            p99_ms=found["p99_ms"] or 0.0,
            ended=found["ended"],
            not_ended=found["not_ended"],
            retried=found["retried"],
            cpu_ms=cpu_ms | {"load": found["cpu_ms_per_saga"]},
            messages=round((self._messages() - messages) / orders, 2),
            **{name: round((now - written[name]) / 1000 / orders, 2) for name, now in self.written().items()},
            orchestrator_rss_mib=max(rss_mib(one.pid) for one in self.orchestrators if one.is_running),
        )

    @contextmanager
    def runners(self) -> Iterator[None]:
        """While it lasts each order is accepted right after its completion."""
        runner = self._start("runners", "bench.runners")
        try:
            runner.wait_ready(lambda: READY in runner.log_tail().splitlines(), READY_SECONDS)
            yield
        finally:
            runner.stop(12.0)
            self._processes.pop("runners")
            runner.log_path.unlink(missing_ok=True)  # the next one says anew that it is ready

    def _open_count(self) -> int:
        """Orders that a runner may still take."""
        with psycopg.connect(self.database_url) as connection:
            found = connection.execute("select count(*) from ordersaga.deadlines where kind = 'window'").fetchone()
        assert found, "an aggregate has a row"
        return int(found[0])

    def _wait_accepted(self, open_before: int) -> None:
        """Until no more are open than were. Raises `TimeoutError`."""
        end = time.monotonic() + ACCEPTED_SECONDS
        while (still := self._open_count()) > open_before:
            if time.monotonic() > end:
                raise TimeoutError(f"{still - open_before} orders are not accepted after {ACCEPTED_SECONDS:.0f} s")
            time.sleep(0.05)

    def limit(self, orders: int, in_flight: int, announced: int = LIMIT_ANNOUNCED) -> Measured:
        """The loop with no engine, in a database of its own."""
        url = self.postgres.create_database()
        of = [str(number) for number in (orders, in_flight, LIMIT_BATCH_MAX, announced, min(UNCOUNTED, orders))]
        found = self._run("bench.limit", *of, database_url=url)
        self.postgres.drop_database(url)  # else it is vacuumed while others are measured
        cpu_ms = {"loop": found["cpu_ms_per_saga"], "responder": found["responder_cpu_ms_per_saga"]}
        return Measured(
            sagas_per_second=found["sagas_per_second"], p50_ms=found["p50_ms"], p99_ms=found["p99_ms"], cpu_ms=cpu_ms
        )

    def load(
        self,
        orders: int,
        in_flight: int,
        *,
        rate: float = 0.0,
        only: int | None = None,
        declined: float = 0.0,
        every_seconds: float = 0.0,
    ) -> "subprocess.Popen[str]":
        """Orders that come in while the test does something else, each under a key: none is placed twice."""
        how, urls = ["--keys", "--rate", str(rate)], self.urls if only is None else [self.urls[only]]
        how += ["--declined", str(declined), "--every", str(every_seconds)]
        argv = [sys.executable, "-m", "bench.load", *how, str(orders), str(in_flight), *urls]
        return subprocess.Popen(argv, env=self._environment, stdout=subprocess.PIPE, text=True)

    def _start(self, group: str, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        name = f"{group}-{len(self._processes.get(group, ()))}"
        argv = [sys.executable, "-m", module, *arguments]
        env = {**self._environment, **(environment or {})}
        process = Process(name, argv, env=env, log_path=self._directory / f"{name}.log")
        process.start()
        self._processes.setdefault(group, []).append(process)
        return process

    def _run(self, module: str, *arguments: str, database_url: str = "") -> dict[str, Any]:
        environment = self._environment | ({"DATABASE_URL": database_url} if database_url else {})
        argv = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, timeout=1200, check=False)
        if done.returncode:
            raise RuntimeError(f"{module} ended with {done.returncode}; the logs are in {self._directory}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def machine(self) -> dict[str, Any]:
        """What the figures were measured on, and how the parts were set."""
        flags = (flag for flag in self.kafka.nodes[0].process.argv if flag.startswith("-X"))
        return machine(self.postgresql_version(), self.postgres.data) | {
            "copies_of_records": len(self.kafka.nodes),
            "broker_jvm": " ".join(flag for flag in flags if "/" not in flag),
            "log_level": self._environment["ORDERSAGA_LOG_LEVEL"],
            "participants_kind": self._kinds,
        }

    def postgresql_version(self) -> str:
        with psycopg.connect(self.database_url) as connection:
            return str(connection.info.parameter_status("server_version"))

    def _messages(self) -> int:
        """Since the database was made: what went through the outbox, and the transitions that an answer brought."""
        with psycopg.connect(self.database_url) as connection:
            found = connection.execute(
                "select coalesce((select last_value from ordersaga.outbox_row_id_seq), 0)"
                " + (select count(*) from ordersaga.saga_history where cause <> 'started')"
            ).fetchone()
        assert found, "an aggregate has a row"
        return int(found[0])

    def written(self) -> dict[str, int]:
        """Bytes so far."""
        with psycopg.connect(self.database_url) as connection:
            found = connection.execute(
                "select pg_current_wal_lsn() - '0/0'::pg_lsn, pg_database_size(current_database())"
            ).fetchone()
        assert found, "a query without tables has a row"
        segments = (self._directory / "kafka").rglob("*.log")
        kafka = sum(one.stat().st_size for one in segments if one.name[:20].isdigit())
        return {"wal_kb": int(found[0]), "kafka_kb": kafka, "stored_kb": int(found[1])}

    def cpu_seconds(self) -> dict[str, float]:
        """Used so far, by group of processes."""
        pids = {name: [one.pid for one in group if one.is_running] for name, group in self._processes.items()}
        pids |= {"postgresql": [self.postgres.pid], "kafka": [node.pid for node in self.kafka.nodes]}
        return {name: sum(tree_cpu_seconds(pid) for pid in group if pid) for name, group in pids.items()}


def rss_mib(pid: int | None) -> float:
    return round(psutil.Process(pid).memory_info().rss / 2**20, 1) if pid else 0.0


def tree_cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, those that have ended included."""
    root = psutil.Process(pid)
    own = root.cpu_times()
    while True:
        total = float(own.user + own.system + own.children_user + own.children_system)
        for child in root.children(recursive=True):
            try:
                used = child.cpu_times()
            except psutil.Error:
                continue
            total += float(used.user + used.system)
        before, own = own, root.cpu_times()
        if (own.children_user, own.children_system) == (before.children_user, before.children_system):
            return total
        # One has ended meanwhile: its time is here or there, in both or in neither.
