"""The same five-step work on engines that a user would otherwise pick, beside ours, on this machine.

    python -m bench.peers [--levels 8,32,128] [--seconds 10] [--only dbos,restate,temporal,ordersaga] [--results PATH]

DBOS (Python, its state in PostgreSQL) runs the steps inside its own process: no broker is crossed. Restate (Python,
its own server) calls a second service for each step. Temporal (Python, its own server, PostgreSQL) runs each step as an
activity. Ours sends each step through Kafka to another process; it is two itself, one that takes orders and one that
does the rest, and is measured at 512 in flight too. Each is installed from its registry, once, into the cache, and
measured for the same seconds; a fresh database or folder each. Ours runs before and after each of the others: how they
compare is of the mean of these two, since a machine may be half as fast a few minutes later. What cannot be installed
is said and left out: `npm` is needed for Restate's server, `go` to build Temporal's (some minutes, once).

`--results` keeps what is measured, a line each: what is there already is not measured again, so a long run can be done
in pieces. Prints tables in Markdown, the second with how many times as many as each of the others, and one line of
JSON.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from bench.load import Connection
from bench.machine import machine
from bench.peers import temporal
from bench.peers.ratios import Row, ratios, ratios_table, table, wanted
from bench.stage import Stage, rss_mib, tree_cpu_seconds
from ordersaga.local.cache import built_once
from ordersaga.local.ports import free_ports
from ordersaga.local.postgres import PostgresServer
from ordersaga.local.postgres_parts import find_postgres_parts
from ordersaga.local.processes import Process

PACKAGES = ("dbos==3.4.0", "psycopg[binary]==3.3.9", "restate_sdk[serde]==1.3.0", "hypercorn==0.18.0", "uvloop==0.23.0")
TEMPORAL_PACKAGES = ("temporalio==1.35.0",)
RESTATE_SERVER = "@restatedev/restate-server-linux-x64@1.7.12"
HERE = Path(__file__).parent
READY_SECONDS = 60.0


class Parts:
    """What is installed, in a folder of the cache."""

    def __init__(self) -> None:
        self.root = built_once("peers-1", _install)

    @property
    def python(self) -> str:
        return str(self.root / "venv/bin/python")

    @property
    def temporal_python(self) -> str:
        """In an environment of its own."""
        return str(built_once("peers-temporal-1", _install_temporal) / "venv/bin/python")

    @property
    def restate_server(self) -> str:
        return str(self.root / "npm/node_modules/@restatedev/restate-server-linux-x64/bin/restate-server")


def _install(root: Path) -> None:
    _say("installing the peers, once ...")
    venv.create(root / "venv", with_pip=True)
    subprocess.run([str(root / "venv/bin/python"), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    (root / "npm").mkdir()
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", RESTATE_SERVER]
    subprocess.run(npm, cwd=root / "npm", check=True)


def _install_temporal(root: Path) -> None:
    _say("installing Temporal's kit, once ...")
    venv.create(root / "venv", with_pip=True)
    subprocess.run([str(root / "venv/bin/python"), "-m", "pip", "install", "--quiet", *TEMPORAL_PACKAGES], check=True)


def dbos(parts: Parts, directory: Path, in_flight: int, seconds: float) -> Row:
    with PostgresServer.start(directory / "postgres") as server:
        environment = {**os.environ, "DATABASE_URL": server.create_database()}
        before = tree_cpu_seconds(server.pid)
        argv = [parts.python, str(HERE / "work_dbos.py"), str(in_flight), str(seconds)]
        done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found: Row = json.loads(done.stdout.splitlines()[-1])
        database_ms = (tree_cpu_seconds(server.pid) - before) * 1000 / found["count"]
    return found | {"all_cpu_ms": round(found["cpu_ms"] + database_ms, 2)}


def restate(parts: Parts, directory: Path, in_flight: int, seconds: float) -> Row:
    with _restate_served(parts, directory) as (url, server, service):
        asyncio.run(_ask(url, 8, 2.0))  # warms up
        before = tree_cpu_seconds(server.pid) + tree_cpu_seconds(service.pid)
        found = asyncio.run(_ask(url, in_flight, seconds))
        used = tree_cpu_seconds(server.pid) + tree_cpu_seconds(service.pid) - before
        rss = rss_mib(server.pid) + rss_mib(service.pid)
    return found | {"all_cpu_ms": round(used * 1000 / found["count"], 2), "rss_mib": rss}


@contextmanager
def _restate_served(parts: Parts, directory: Path) -> Iterator[tuple[str, Process, Process]]:
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
    its = [parts.python, "-m", "hypercorn", *serving, "-c", str(directory / "hypercorn.toml"), "work_restate:app"]
    argv = [parts.restate_server, *where, *listening]
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

    async def place(place: int) -> None:
        connection, number = Connection(url), 0
        while time.perf_counter() - begun < seconds:
            since = time.perf_counter()
            number += 1
            items = [{"name": "burrito", "price": 9.99, "quantity": 2}]
            body = json.dumps({"order_id": f"o-{place}-{number}", "customer_id": "c-123", "items": items})
            status, _ = await connection.post("/Saga/Calls", body.encode(), "")
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


def temporal_py(parts: Parts, directory: Path, in_flight: int, seconds: float) -> Row:
    temporal.built()
    return temporal.measure(parts.temporal_python, directory, in_flight, seconds)


def ordersaga(parts: Parts, directory: Path, in_flight: int, seconds: float) -> Row:
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


PEERS: Mapping[str, Callable[[Parts, Path, int, float], Row]] = {
    "dbos": dbos, "restate": restate, "temporal": temporal_py, "ordersaga": ordersaga,
}  # fmt: skip
SECONDS_LEAST = {"temporal": 16.0}
"""Of it a saga takes seconds: a short measurement would be all beginnings and ends."""


def measured(parts: Parts, name: str, level: int, seconds: float) -> Row:
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        return PEERS[name](parts, directory, level, max(seconds, SECONDS_LEAST.get(name, 0.0)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    parts, missing = Parts(), set()
    for name, level, turn in wanted([int(one) for one in asked.levels.split(",")], asked.only.split(","), rows):
        if name in missing:
            continue
        try:
            found = measured(parts, name, level, asked.seconds)
            rows.append({"peer": name, "in_flight": level, "turn": turn} | found)
        except temporal.CannotBuild as error:
            missing.add(name)
            _say(str(error))
            continue
        _say(json.dumps(rows[-1]))
        if asked.results:
            with asked.results.open("a") as kept:
                kept.write(json.dumps(rows[-1]) + "\n")
    times = ratios(rows)
    print("\n".join([*table(rows), *(["", *ratios_table(times)] if times else [])]))
    with tempfile.TemporaryDirectory(prefix="ordersaga-bench-") as scratch:
        found = machine(find_postgres_parts().version, Path(scratch))
    print(json.dumps({"rows": rows, "times": times, "machine": found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
