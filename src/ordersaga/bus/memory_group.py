"""Who of a group reads which partition. Pure: the caller holds the lock.

Partitions are spread evenly, topic by topic, over the members that read the topic; a member keeps what it has where
that is even enough (as Kafka's cooperative-sticky assignor does). A partition that moves is read from the committed
offset, or from its beginning where there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TopicPartition = tuple[str, int]


@dataclass(kw_only=True, eq=False, slots=True)
class Member:
    client_id: str
    topics: Sequence[str]
    instance_id: str | None
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    """The next offset to deliver of each partition that is this member's. Read in this order."""
    fenced: bool = False


class Group:
    def __init__(self) -> None:
        self.members: list[Member] = []
        """In the order in which they came."""
        self.committed: dict[TopicPartition, int] = {}
        self._partitions: Mapping[str, int] = {}

    def join(self, member: Member, partitions: Mapping[str, int]) -> None:
        self._partitions = partitions
        for other in self.members:
            if member.instance_id is not None and other.instance_id == member.instance_id:
                other.fenced = True
                other.positions = {}
        self.members = [other for other in self.members if not other.fenced] + [member]
        self._rebalance()

    def leave(self, member: Member) -> None:
        self.members = [other for other in self.members if other is not member]
        member.positions = {}
        self._rebalance()

    def commit(self, member: Member, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Offsets of partitions that are another's by now are left out: its own commits count."""
        for tp, offset in next_offsets.items():
            if tp in member.positions:
                self.committed[tp] = offset

    def _rebalance(self) -> None:
        for topic in sorted({topic for member in self.members for topic in member.topics}):
            self._share(topic, [member for member in self.members if topic in member.topics])

    def _share(self, topic: str, readers: Sequence[Member]) -> None:
        count = self._partitions[topic]
        held = {id(reader): [tp for tp in reader.positions if tp[0] == topic] for reader in readers}
        least, more = divmod(count, len(readers))
        by_holding = sorted(readers, key=lambda reader: -len(held[id(reader)]))
        quota = {id(reader): least + (place < more) for place, reader in enumerate(by_holding)}
        for reader in readers:
            for tp in held[id(reader)][quota[id(reader)] :]:
                del reader.positions[tp]
        taken = {tp for reader in readers for tp in reader.positions}
        free = [(topic, number) for number in range(count) if (topic, number) not in taken]
        for reader in readers:
            missing = quota[id(reader)] - min(quota[id(reader)], len(held[id(reader)]))
            for tp in free[:missing]:
                reader.positions[tp] = self.committed.get(tp, 0)
            del free[:missing]
