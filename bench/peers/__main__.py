"""The same five-step work on engines that a user would otherwise pick, beside ours, on this machine.

    python -m bench.peers [--levels 8,32,128] [--seconds 10] [--only dbos,restate,restate-runs,temporal,ordersaga]
                          [--results PATH]

DBOS (Python, its state in PostgreSQL) runs the steps inside its own process: no broker is crossed. Restate (Python,
its own server) calls a second service for each step; `restate-runs` runs each in the handler's process, as DBOS does.
Temporal (Python, its own server, PostgreSQL) runs each step as an activity. Ours sends each step through Kafka to
another process; it is two itself, one that takes orders and one that does the rest, and is measured at 512 in flight
too. What each is made of stands below the table. Each is measured for the same seconds once it is warm, figures and
processor time of that span alone; a fresh database or folder each. Ours runs before and after each of the others: how
they compare is of the mean of these two, since a machine may be half as fast a few minutes later.

Each is installed from its registry, once, into the cache, when it is its turn. What cannot be had is said and left
out: `npm` is needed for Restate's server, `go` to build Temporal's (some minutes, once).

`--results` keeps what is measured, a line each: what is there already is not measured again, so a long run can be done
in pieces. Prints tables in Markdown, the second with how many times as many as each of the others, and one line of
JSON.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from bench.load import Connection
from bench.machine import machine
from bench.peers import parts, temporal
from bench.peers.ratios import Row, legend, ratios, ratios_table, table, wanted
from bench.peers.span import measured_span
from bench.stage import Stage, rss_mib, tree_cpu_seconds
from ordersaga.local.ports import free_ports
from ordersaga.local.postgres import PostgresServer
from ordersaga.local.postgres_parts import find_postgres_parts
from ordersaga.local.processes import Process

HERE = Path(__file__).parent
READY_SECONDS = 60.0


def dbos(directory: Path, in_flight: int, seconds: float) -> Row:
    argv = [parts.python_with(parts.DBOS), str(HERE / "work_dbos.py"), str(in_flight), str(seconds)]
    with PostgresServer.start(directory / "postgres") as server:
        environment = {**os.environ, "DATABASE_URL": server.create_database()}
        found, used = measured_span(argv, environment, lambda: tree_cpu_seconds(server.pid))
    return found | {"all_cpu_ms": round(found["cpu_ms"] + used * 1000 / found["count"], 2)}


def restate(directory: Path, in_flight: int, seconds: float, *, handler: str) -> Row:
    with _restate_served(directory) as (url, server, service):
        asyncio.run(_ask(f"{url}/Saga/{handler}", 8, 2.0))  # warms up
        before = tree_cpu_seconds(server.pid) + tree_cpu_seconds(service.pid)
        found = asyncio.run(_ask(f"{url}/Saga/{handler}", in_flight, seconds))
        used = tree_cpu_seconds(server.pid) + tree_cpu_seconds(service.pid) - before
        rss = rss_mib(server.pid) + rss_mib(service.pid)
    return found | {"all_cpu_ms": round(used * 1000 / found["count"], 2), "rss_mib": rss}


@contextmanager
def _restate_served(directory: Path) -> Iterator[tuple[str, Process, Process]]:
    python, program = parts.python_with(parts.RESTATE), parts.restate_server()
    node, ingress, admin, service = free_ports(4)
    environment = {
        **os.environ,
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "RESTATE_LOG_FILTER": "warn",
        "RESTATE_DEFAULT_NUM_PARTITIONS": "4",
    }
    where = ["--base-dir", str(directory / "restate"), "--node-name", "n1", "--no-logo"]
    listening = ["--listen-mode", "tcp", "--bind-ip", "127.0.0.1", "--bind-port", str(node)]
    (directory / "hypercorn.toml").write_text("h2_max_concurrent_streams = 2000\nkeep_alive_timeout = 300\n")
    serving = ["--worker-class", "uvloop", "--bind", f"127.0.0.1:{service}", "--log-level", "error"]
    its = [python, "-m", "hypercorn", *serving, "-c", str(directory / "hypercorn.toml"), "work_restate:app"]
    argv = [program, *where, *listening]
    server = Process("restate", argv, env=environment, log_path=directory / "restate.log")
    handlers = Process(
        "handlers", its, env={**os.environ, "PYTHONPATH": str(HERE)}, log_path=directory / "handlers.log"
    )
    try:
        server.start()
        handlers.start()
        body = json.dumps({"uri": f"http://127.0.0.1:{service}"}).encode()
        register = Request(f"http://127.0.0.1:{admin}/deployments", body, {"Content-Type": "application/json"})
        server.wait_ready(lambda: _answers(register), READY_SECONDS)
        time.sleep(1)
        yield f"http://127.0.0.1:{ingress}", server, handlers
    finally:
        handlers.stop()
        server.stop()


def _answers(request: Request) -> bool:
    try:
        urlopen(request, timeout=10).read()
    except (URLError, OSError):
        return False
    return True


async def _ask(url: str, in_flight: int, seconds: float) -> Row:
    begun, took = time.perf_counter(), []
    path = urlsplit(url).path

    async def place(place: int) -> None:
        connection, number = Connection(url), 0
        while time.perf_counter() - begun < seconds:
            since = time.perf_counter()
            number += 1
            items = [{"name": "burrito", "price": 9.99, "quantity": 2}]
            body = json.dumps({"order_id": f"o-{place}-{number}", "customer_id": "c-123", "items": items})
            status, _ = await connection.post(path, body.encode(), "")
            if status != 200:
                raise RuntimeError(f"Restate answers {status}")
            took.append(time.perf_counter() - since)
        connection.close()

    await asyncio.gather(*(place(number) for number in range(in_flight)))
    elapsed = time.perf_counter() - begun
    took.sort()
    return {
        "per_second": round(len(took) / elapsed, 1),
        "p50_ms": round(took[len(took) // 2] * 1000, 1),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 1),
        "count": len(took),
    }


def temporal_py(directory: Path, in_flight: int, seconds: float) -> Row:
    temporal.built()
    return temporal.measure(parts.python_with(parts.TEMPORAL), directory, in_flight, seconds)


def ordersaga(directory: Path, in_flight: int, seconds: float) -> Row:
    with Stage(directory, participants="light", apart=True) as stage:
        rate = stage.saga(500, in_flight, warm_up=False).sagas_per_second
        found = stage.saga(max(200, int(rate * seconds)), in_flight)
    used = {name: ms for name, ms in found.cpu_ms.items() if name != "load"}
    return {
        "per_second": found.sagas_per_second,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
        "all_cpu_ms": round(sum(used.values()), 2),
        "rss_mib": found.orchestrator_rss_mib,
    }


PEERS: Mapping[str, Callable[[Path, int, float], Row]] = {
    "dbos": dbos,
    "restate": partial(restate, handler="Calls"),
    "restate-runs": partial(restate, handler="Runs"),
    "temporal": temporal_py,
    "ordersaga": ordersaga,
}
SECONDS_LEAST = {"temporal": 16.0}
"""Of it a saga takes seconds: a short measurement would be all beginnings and ends."""


def measured(name: str, level: int, seconds: float) -> Row:
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        return PEERS[name](directory, level, max(seconds, SECONDS_LEAST.get(name, 0.0)))


def measured_in_turn(plan: Sequence[tuple[str, int, int]], seconds: float) -> Iterator[Row]:
    """One row after the other; whoever cannot be had is said, once, and left out."""
    left_out: set[str] = set()
    for name, level, turn in plan:
        if name in left_out:
            continue
        try:
            yield {"peer": name, "in_flight": level, "turn": turn} | measured(name, level, seconds)
        except parts.CannotHave as missing:
            left_out.add(name)
            parts.said(f"{name} is left out: {missing}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench.peers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--levels", default="8,32,128", help="in flight")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--only", default=",".join(PEERS), help="which")
    parser.add_argument("--results", type=Path, help="a file that keeps what is measured")
    asked = parser.parse_args()
    rows: list[Row] = []
    if asked.results and asked.results.exists():
        rows = [json.loads(line) for line in asked.results.read_text().splitlines()]
    plan = wanted([int(one) for one in asked.levels.split(",")], asked.only.split(","), rows)
    for row in measured_in_turn(plan, asked.seconds):
        rows.append(row)
        parts.said(json.dumps(row))
        if asked.results:
            with asked.results.open("a") as kept:
                kept.write(json.dumps(row) + "\n")
    times = ratios(rows)
    print("\n".join([*table(rows), "", *legend(rows), *(["", *ratios_table(times)] if times else [])]))
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as scratch:
        found = machine(find_postgres_parts().version, Path(scratch)) | {"peers": parts.versions()}
    print(json.dumps({"rows": rows, "times": times, "machine": found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
