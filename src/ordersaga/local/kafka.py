"""Apache Kafka on this machine, one broker or three, for the demo, the tests and the benchmarks.

These are real brokers in processes of their own: they can be killed, stopped, frozen and started again on the same
data. They differ from a production cluster in three points that are meant: small heaps and few threads; a broker's
absence is noticed after one second; and every node is a controller too. Not promised: anything after the loss of power,
and security (listeners are plain text, on 127.0.0.1 only).

Each node has two listeners for clients. The second one advertises a port at which nobody listens until a test puts a
proxy there: faults on that proxy hit clients and leave the traffic among brokers alone.
"""

import atexit
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from uuid import uuid4

from ordersaga.local.java import java_environment
from ordersaga.local.kafka_parts import KafkaParts, find_kafka_parts, properties_text
from ordersaga.local.kafka_wire import accepts_partitions, answers, listens
from ordersaga.local.ports import free_ports, release_ports
from ordersaga.local.processes import Process
from ordersaga.local.temporary import make_directory, remove_directory

READY_SECONDS = 60.0
_STOP_SECONDS = 15.0


class Kafka(Protocol):
    """Brokers to use: our own, or somebody else's."""

    @property
    def bootstrap_servers(self) -> str: ...

    def stop(self) -> None: ...


def open_kafka() -> Kafka:
    """For tests: the cluster that `KAFKA_BOOTSTRAP_SERVERS` names, if it is set, else one of our own."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    return ExternalKafka(bootstrap_servers=given) if given else KafkaCluster.start()


def prepare_kafka() -> KafkaParts:
    """Fetch and make what a start needs, where the cache lacks it. Raises `PartMissing`."""
    return find_kafka_parts(_rehearse, _sample_properties())


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalKafka:
    """A cluster that was there before us: used, never stopped."""

    bootstrap_servers: str

    def stop(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePorts:
    client: int
    behind_proxy: int
    """Where a proxy connects to."""
    proxy: int
    """Where a proxy is to listen: clients of the second listener are sent here."""
    controller: int


class KafkaNode:
    """One broker and controller. `kill`, `freeze` and `thaw` return when the signal has been sent and, for `kill`, the
    process is gone; `stop` is an orderly end.
    """

    def __init__(self, node_id: int, ports: NodePorts, process: Process, *, encrypted: bool) -> None:
        """`encrypted`: the listener behind the proxy speaks TLS, which is not looked into."""
        self.node_id = node_id
        self.ports = ports
        self.process = process
        self._second_answers = listens if encrypted else answers

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        """Does not wait: nodes of a cluster become ready together."""
        self.process.start()

    def wait_ready(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Until both listeners answer and the cluster would put a partition on this node. Raises `NotReady`: always so
        while most of the cluster's nodes are away.
        """
        self.process.wait_ready(self._is_ready, timeout_seconds)

    def kill(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        self.process.stop(_STOP_SECONDS)

    def freeze(self) -> None:
        self.process.freeze()

    def thaw(self) -> None:
        self.process.thaw()

    def restart(self) -> None:
        """On the same data and ports; an orderly end first, if it is running. Returns when it is ready."""
        self.stop()
        self.start()
        self.wait_ready()

    def _is_ready(self) -> bool:
        client = self.ports.client
        return (
            answers(client)
            and self._second_answers(self.ports.behind_proxy)
            and accepts_partitions(client, self.node_id)
        )


class KafkaCluster:
    """Nodes 1 to n in `nodes`, in this order."""

    def __init__(self, nodes: Sequence[KafkaNode], directory: Path, *, is_temporary: bool) -> None:
        """Use `start`."""
        self.nodes = tuple(nodes)
        self.directory = directory
        self._is_temporary = is_temporary

    @classmethod
    def start(
        cls, nodes: int = 1, directory: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> "KafkaCluster":
        """A cluster that is ready. `directory` keeps its data for the next start with the same number of nodes; without
        it the data go when the cluster stops. `extra`: further settings of every broker.

        Raises `PartMissing`, `NotReady`.
        """
        return cls._start(prepare_kafka(), nodes, directory, extra or {})

    @classmethod
    def _start(cls, parts: KafkaParts, count: int, directory: Path | None, extra: Mapping[str, str]) -> "KafkaCluster":
        home = directory.absolute() if directory is not None else make_directory("kafka")
        ports = _take_ports(count)
        nodes = [_node(parts, node_id, ports, home, extra) for node_id in range(1, count + 1)]
        cluster = cls(nodes, home, is_temporary=directory is None)
        atexit.register(cluster.stop)
        try:
            cluster._format(parts)
            for node in nodes:
                node.start()
            for node in nodes:
                node.wait_ready()
        except BaseException:
            cluster.stop()
            raise
        return cluster

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{node.ports.client}" for node in self.nodes)

    @property
    def proxied_bootstrap_servers(self) -> str:
        """Answers only while a proxy leads from each node's `ports.proxy` to its `ports.behind_proxy`."""
        return ",".join(f"127.0.0.1:{node.ports.proxy}" for node in self.nodes)

    def stop(self) -> None:
        """Idempotent. Temporary data are thrown away, so nothing is saved first."""
        atexit.unregister(self.stop)
        if not self._is_temporary:
            for node in self.nodes:
                node.process.ask_to_stop()  # all at once: the last of three would wait for a quorum in vain
            for node in self.nodes:
                node.stop()
        for node in self.nodes:
            node.kill()
        release_ports(port for node in self.nodes for port in _all_ports(node.ports))
        if self._is_temporary:
            remove_directory(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _format(self, parts: KafkaParts) -> None:
        """Write what Kafka's own tool would, without the second that it takes; stores that exist are left alone."""
        cluster_id = _kafka_id()
        for node in self.nodes:
            store = _store(self.directory, node.node_id)
            if (store / "meta.properties").exists():
                continue
            store.mkdir(parents=True, exist_ok=True)
            (store / "bootstrap.checkpoint").write_bytes(parts.bootstrap_checkpoint)
            identity = {"cluster.id": cluster_id, "node.id": str(node.node_id), "directory.id": _kafka_id()}
            (store / "meta.properties").write_text(properties_text({"version": "1", **identity}))


def _take_ports(count: int) -> list[NodePorts]:
    numbers = iter(free_ports(4 * count))
    return [
        NodePorts(client=next(numbers), behind_proxy=next(numbers), proxy=next(numbers), controller=next(numbers))
        for _ in range(count)
    ]


def _node(
    parts: KafkaParts, node_id: int, ports: Sequence[NodePorts], home: Path, extra: Mapping[str, str]
) -> KafkaNode:
    scratch = home / f"node-{node_id}-tmp"  # native libraries are unpacked here, where they go with the data
    scratch.mkdir(parents=True, exist_ok=True)
    configuration = home / f"node-{node_id}.properties"
    configuration.write_text(properties_text({**_properties(node_id, ports, _store(home, node_id)), **extra}))
    command = parts.command("kafka.Kafka", str(configuration), flags=[f"-Djava.io.tmpdir={scratch}"])
    log_path, environment = home / f"node-{node_id}.log", java_environment()
    process = Process(f"Kafka node {node_id}", command, log_path=log_path, env=environment, directory=home)
    encrypted = extra.get("listener.security.protocol.map", "").endswith("SSL")
    return KafkaNode(node_id, ports[node_id - 1], process, encrypted=encrypted)


def _properties(node_id: int, ports: Sequence[NodePorts], store: Path) -> dict[str, str]:
    mine = ports[node_id - 1]
    replicas = str(len(ports))
    return {
        "process.roles": "broker,controller",
        "node.id": str(node_id),
        "controller.quorum.voters": ",".join(f"{i}@127.0.0.1:{p.controller}" for i, p in enumerate(ports, start=1)),
        "listeners": f"PLAINTEXT://127.0.0.1:{mine.client},PROXIED://127.0.0.1:{mine.behind_proxy},"
        f"CONTROLLER://127.0.0.1:{mine.controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{mine.client},PROXIED://127.0.0.1:{mine.proxy}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(store),
        "auto.create.topics.enable": "false",  # a mistyped topic must be an error, not a new topic
        "default.replication.factor": replicas,
        "min.insync.replicas": "2" if len(ports) > 2 else "1",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": "2",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A broker that comes back after kill -9 waits until its old session has run out: 9 s by default.
        "broker.session.timeout.ms": "1000",
        "broker.heartbeat.interval.ms": "200",
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.fetch.timeout.ms": "1000",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "background.threads": "2",
        "log.cleaner.dedupe.buffer.size": "4194304",
        "log.cleaner.io.buffer.size": "65536",
        "log.index.size.max.bytes": "1048576",
        "log.segment.bytes": "16777216",
    }


def _sample_properties() -> dict[str, str]:
    """For formatting an empty store: nothing listens at these ports."""
    return _properties(1, [NodePorts(client=1, behind_proxy=2, proxy=3, controller=4)], Path("unused"))


def _rehearse(parts: KafkaParts) -> None:
    cluster = KafkaCluster._start(parts, 1, None, {})
    try:
        cluster.nodes[0].process.stop(READY_SECONDS)  # Java writes its archive when it ends, which takes seconds
    finally:
        cluster.stop()


def _store(home: Path, node_id: int) -> Path:
    return home / f"node-{node_id}"


def _all_ports(ports: NodePorts) -> tuple[int, ...]:
    return (ports.client, ports.behind_proxy, ports.proxy, ports.controller)


def _kafka_id() -> str:
    return urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
