"""What is asked of brokers besides reading and writing: topics, and how the brokers are set up."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ordersaga.bus.kafka_client import (
    ClientError,
    NoGroupYet,
    NotAllowed,
    broker_setting,
    place,
    translated,
    was_created,
)
from ordersaga.bus.protocol import Access, BusRefused, Cluster, GroupMember, Read, TopicSpec, TopicState

_LATEST, _EARLIEST = -1, -2
"""The end of a partition and its first record, as the protocol has them."""
_AUTO_CREATE = "auto.create.topics.enable"


class AdminSession:
    def __init__(self, client: Any) -> None:
        self._client = client

    def partitions(self) -> dict[str, int]:
        return {name: topic.partitions for name, topic in self._topics().items()}

    def describe(self) -> Cluster:
        return Cluster(self._topics(), self._creates_topics())

    def _topics(self) -> dict[str, TopicState]:
        with translated():
            return {
                topic["name"]: _state(topic) for topic in self._client.describe_topics() if not topic.get("is_internal")
            }

    def _creates_topics(self) -> bool | None:
        """Of any broker: they are set up alike."""
        with translated():
            broker_id = self._client.describe_cluster()["brokers"][0]["broker_id"]
        try:
            found = self._client.describe_configs([broker_setting(broker_id, _AUTO_CREATE)], config_filter="all")
        except ClientError:
            return None
        told = [configs.get(_AUTO_CREATE) for kind in found.values() for configs in kind.values()]
        return any(one is not None and str(one["value"]).lower() == "true" for one in told) if any(told) else None

    def group_reads(self, group: str, topics: Collection[str]) -> dict[tuple[str, int], Read]:
        there = self._topics()
        wanted = [place(name, number) for name in topics if name in there for number in range(there[name].partitions)]
        if not wanted:
            return {}
        with translated():
            committed = self._client.list_group_offsets({group: None})[group]
            begins = self._client.list_partition_offsets(dict.fromkeys(wanted, _EARLIEST))
            ends = self._client.list_partition_offsets(dict.fromkeys(wanted, _LATEST))
        found = {}
        for tp in wanted:
            if tp not in begins or tp not in ends:
                continue
            read = committed[tp].offset if tp in committed else 0
            found[tp.topic, tp.partition] = Read(max(read, begins[tp].offset), ends[tp].offset)
        return found

    def read_again(self, group: str, since_ms: int) -> dict[tuple[str, int], int]:
        if members := self.members(group):
            raise BusRefused(f"{_cannot(group)} ({', '.join(sorted(one.client_id for one in members))})")
        with translated():
            committed = self._client.list_group_offsets({group: None})[group]
            if not committed:
                return {}
            since = self._client.list_partition_offsets(dict.fromkeys(committed, since_ms))
            back = {
                tp: since[tp].offset
                for tp, found in committed.items()
                if tp in since and 0 <= since[tp].offset < found.offset
            }
            answers = self._client.reset_group_offsets(group, dict(back)) if back else {}
        if refused := {str(one["error"].__name__) for one in answers.values() if one["error"].errno}:
            raise BusRefused(f"{_cannot(group)} ({', '.join(refused)})")
        return {tuple(tp): committed[tp].offset - answer["offset"] for tp, answer in answers.items()}

    def access(self, group: str) -> Access:
        with translated():
            topics = {one["name"]: _operations(one, "topic_") for one in self._client.describe_topics()}
            try:
                described = self._client.describe_groups([group])[group]
            except NotAllowed:
                return Access(topics, ())
            except NoGroupYet:
                return Access(topics, None)
        if described.get("error"):
            return Access(topics, () if "AuthorizationFailed" in described["error"] else None)
        return Access(topics, _operations(described))

    def members(self, group: str) -> list[GroupMember]:
        """A group that does not exist is told with an error of its own, and without members."""
        with translated():
            found = self._client.describe_groups([group])[group]
        return [GroupMember(member["client_id"], _assigned(member)) for member in found["members"]]

    def create(self, specs: Sequence[TopicSpec]) -> list[str]:
        wanted = {
            spec.name: {"num_partitions": spec.partitions, "replication_factor": -1, "configs": dict(spec.config)}
            for spec in specs
        }
        with translated():
            answers = self._client.create_topics(wanted, raise_errors=False)["topics"]
            created: list[str] = [answer["name"] for answer in answers if was_created(answer)]
            if created:
                self._client.wait_for_topics(created)
            return created

    def close(self) -> None:
        self._client.close()


def _cannot(group: str) -> str:
    return f"the group {group} cannot be set back while somebody reads for it"


def _operations(told: dict[str, Any], prefix: str = "") -> frozenset[str] | None:
    """None where a broker leaves them out."""
    found = told.get("authorized_operations", told.get(f"{prefix}authorized_operations"))
    return frozenset(found) if isinstance(found, list) else None


def _state(topic: Mapping[str, Any]) -> TopicState:
    partitions = topic["partitions"]
    return TopicState(
        len(partitions),
        str(topic.get("topic_id")),
        behind=sum(len(one["isr_nodes"]) < len(one["replica_nodes"]) for one in partitions),
        leaderless=sum(one["leader_id"] < 0 for one in partitions),
    )


def _assigned(member: Mapping[str, Any]) -> list[tuple[str, int]]:
    """None of a member that has just come."""
    assignment = member["member_assignment"] or {"assigned_partitions": ()}
    return [(one["topic"], number) for one in assignment["assigned_partitions"] for number in one["partitions"]]
