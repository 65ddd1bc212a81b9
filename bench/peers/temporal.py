"""Temporal's server, built from its source once, and the settings that make it quick on one machine: all four services
in one process, 16 shards, prepared statements, eager starts and activities, no limits on requests. Its state is in
PostgreSQL. What it lists workflows by is in memory, which is in its favour: in PostgreSQL that needs an extension which
the server from the package registry has not.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.peers.parts import TEMPORAL_SERVER, TEMPORAL_VERSION, run
from bench.peers.ratios import Row
from bench.peers.span import measured_span
from bench.stage import rss_mib, tree_cpu_seconds
from ordersaga.local.cache import built_once
from ordersaga.local.ports import free_ports
from ordersaga.local.postgres import PostgresServer
from ordersaga.local.processes import Process

SHARDS = 16
HERE = Path(__file__).parent
READY_SECONDS = 60.0
CONNECTIONS = 40
SERVICES = ("frontend", "history", "matching", "worker")
IN_MEMORY: Mapping[str, object] = {
    "pluginName": "sqlite",
    "databaseName": "visibility",
    "connectAddr": "localhost",
    "connectProtocol": "tcp",
    "connectAttributes": {"mode": "memory", "cache": "private"},
    "maxConns": 1,
    "maxIdleConns": 1,
}
DYNAMIC: Mapping[str, object] = {
    "system.enableEagerWorkflowStart": "true",
    "system.enableActivityEagerExecution": "true",
    "frontend.namespaceCount": 5000,
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
    **dict.fromkeys(
        (
            "frontend.rps",
            "frontend.namespaceRPS",
            "history.rps",
            "matching.rps",
            "frontend.persistenceMaxQPS",
            "frontend.persistenceNamespaceMaxQPS",
            "history.persistenceMaxQPS",
            "matching.persistenceMaxQPS",
        ),
        100_000,
    ),
}


def built() -> Path:
    """A folder with `server`, `sql` and `schema`. Raises `CannotHave`."""
    return built_once(f"temporal-{TEMPORAL_VERSION}", _build)


def _build(root: Path) -> None:
    environment = {**os.environ, "GOBIN": str(root), "GOFLAGS": "-buildvcs=false"}
    programs = [f"{TEMPORAL_SERVER}/cmd/{name}@{TEMPORAL_VERSION}" for name in ("server", "tools/sql")]
    run(["go", "install", *programs], environment=environment)
    found = run(["go", "mod", "download", "-json", f"{TEMPORAL_SERVER}@{TEMPORAL_VERSION}"], environment=environment)
    shutil.copytree(Path(json.loads(found)["Dir"]) / "schema/postgresql/v12", root / "schema")


def measure(python: str, directory: Path, in_flight: int, seconds: float) -> Row:
    """On a server and databases of its own. CPU of all processes, warming up not included."""
    with PostgresServer.start(directory / "postgres") as postgres, _served(postgres, directory) as (address, server):
        argv = [python, str(HERE / "work_temporal.py"), str(in_flight), str(seconds)]
        environment = {**os.environ, "TEMPORAL_ADDRESS": address}
        try:
            found, used = measured_span(
                argv, environment, lambda: tree_cpu_seconds(server.pid) + tree_cpu_seconds(postgres.pid)
            )
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{server.log_tail()}") from error
        rss = rss_mib(server.pid) + float(found["rss_mib"])
    return found | {"all_cpu_ms": round(found["cpu_ms"] + used * 1000 / found["count"], 2), "rss_mib": round(rss, 1)}


@contextmanager
def _served(postgres: PostgresServer, directory: Path) -> Iterator[tuple[str, Process]]:
    root = built()
    url = postgres.create_database()
    _prepare(root, url)
    ports = free_ports(2 * len(SERVICES))
    where = directory / "temporal" / "config"
    where.mkdir(parents=True)
    (where / "dynamic.yaml").write_text("".join(f"{name}:\n  - value: {value}\n" for name, value in DYNAMIC.items()))
    (where / "bench.yaml").write_text(json.dumps(_configuration(url, ports, where)))  # JSON is YAML too
    argv = [str(root / "server"), "--root", str(where.parent), "--config", "config", "--env", "bench"]
    environment = {**os.environ, "GOGC": "400"}
    log = directory / "temporal.log"
    server = Process("temporal", [*argv, "--allow-no-auth", "start"], env=environment, log_path=log)
    server.start()
    try:
        yield f"127.0.0.1:{ports[0]}", server
    finally:
        server.stop(12.0)


def _prepare(root: Path, url: str) -> None:
    database = urlsplit(url)
    whom = ["-u", database.username or "", "--pw", database.password or "none", "--db", database.path.lstrip("/")]
    to = ["--ep", database.hostname or "", "-p", str(database.port), "--pl", "postgres12", *whom]
    folder = str(root / "schema/temporal/versioned")
    for step in (["setup-schema", "-v", "0.0"], ["update-schema", "-d", folder]):
        argv = [str(root / "sql"), *to, *step]
        done = subprocess.run(argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"Temporal's tables were not made:\n{done.stdout[-2000:]}")


def _configuration(url: str, ports: Sequence[int], where: Path) -> dict[str, Any]:
    frontend = f"127.0.0.1:{ports[0]}"
    return {
        "log": {"stdout": True, "level": "error"},
        "persistence": {
            "defaultStore": "default",
            "visibilityStore": "vis",
            "numHistoryShards": SHARDS,
            "datastores": {"default": {"sql": _store(url)}, "vis": {"sql": IN_MEMORY}},
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
        "services": {
            name: {"rpc": {"grpcPort": ports[n], "membershipPort": ports[n + len(SERVICES)], "bindOnIP": "127.0.0.1"}}
            for n, name in enumerate(SERVICES)
        },
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {
                "active": {"enabled": True, "initialFailoverVersion": 1, "rpcName": "frontend", "rpcAddress": frontend}
            },
        },
        "dcRedirectionPolicy": {"policy": "noop"},
        "dynamicConfigClient": {"filepath": str(where / "dynamic.yaml"), "pollInterval": "60s"},
    }


def _store(url: str) -> dict[str, Any]:
    database = urlsplit(url)
    return {
        "pluginName": "postgres12_pgx",  # it prepares statements, the other one does not
        "databaseName": database.path.lstrip("/"),
        "connectAddr": f"{database.hostname}:{database.port}",
        "connectProtocol": "tcp",
        "user": database.username,
        "password": database.password or "none",
        "maxConns": CONNECTIONS,
        "maxIdleConns": CONNECTIONS,
        "maxConnLifetime": "1h",
    }
