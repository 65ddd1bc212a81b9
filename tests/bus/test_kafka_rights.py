"""Rights to a topic that are taken away while it is read."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ordersaga.bus import kafka_insides
from ordersaga.bus.kafka import KafkaBus, KafkaSecurity
from ordersaga.bus.kafka_consumer import KafkaConsumer
from ordersaga.bus.protocol import Consumer
from ordersaga.local.kafka import KafkaCluster
from tests.bus.conftest import new_topic
from tests.bus.reading import eventually, member, numbered, publish
from tests.bus.test_kafka_security import PASSWORD_SETTINGS
from tests.faults.proxy import FaultProxy

pytestmark = pytest.mark.slow
SETTINGS = PASSWORD_SETTINGS | {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
READER = KafkaSecurity(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username="reader", password="right-c4n4ry-secret")
Allow = Callable[[str, str, bool], None]


@contextmanager
def allowing(bootstrap_servers: str) -> Iterator[Allow]:
    """Gives the user `reader` a right to a topic, or takes it away."""
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, ResourcePattern, ResourceType

    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)

    def acl(kind: ResourceType, name: str, operation: str) -> ACL:
        return ACL("User:reader", "*", ACLOperation[operation], ACLPermissionType.ALLOW, ResourcePattern(kind, name))

    def allow(topic: str, operation: str, allowed: bool) -> None:
        (admin.create_acls if allowed else admin.delete_acls)([acl(ResourceType.TOPIC, topic, operation)])

    admin.create_acls([acl(ResourceType.GROUP, "group", "READ")])
    yield allow
    admin.close()


@dataclass
class Reading:
    """What came so far, by topic."""

    consumer: Consumer
    came: Counter[str] = field(default_factory=Counter)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        def poll_and_look() -> bool:
            self.came.update(record.topic for record in self.consumer.poll(100, 0.3))
            return holds()

        eventually(poll_and_look, what)

    def until_came(self, topic: str, count: int) -> None:
        self.until(lambda: self.came[topic] == count, f"{count} records of {topic} did not come")


@pytest.mark.parametrize("may_see_it", [True, False])
def test_a_topic_that_may_not_be_read_any_more_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, may_see_it: bool
) -> None:
    """A client that may not even see it is told so when it asks where partitions are."""
    monkeypatch.setattr(kafka_insides, "TRY_AGAIN_SECONDS", 0.5)
    with KafkaCluster.start(extra=SETTINGS) as cluster, allowing(cluster.bootstrap_servers) as allow:
        ports = cluster.nodes[0].ports
        owner = KafkaBus(cluster.bootstrap_servers)
        theirs, other = new_topic(owner, partitions=2), new_topic(owner, partitions=2)
        allow(theirs, "READ", True)
        allow(other, "READ", True)
        allow(theirs, "DESCRIBE", may_see_it)
        with FaultProxy(ports.behind_proxy, port=ports.proxy):
            ours = KafkaBus(f"127.0.0.1:{ports.proxy}", security=READER)
            with member(ours, "group", theirs, other) as consumer:
                reading = Reading(consumer)
                publish(owner, *numbered(theirs, 20), *numbered(other, 20))
                reading.until_came(theirs, 20)
                reading.until_came(other, 20)

                allow(theirs, "READ", False)
                reading.until(lambda: len(consumer.unreadable()) == 2, "nobody is told")
                look_around(consumer)
                publish(owner, *numbered(theirs, 20), *numbered(other, 20))
                reading.until_came(other, 40)
                assert reading.came[theirs] == 20
                assert {topic for topic, _ in consumer.unreadable()} == {theirs}
                assert all("TopicAuthorizationFailedError" in why for why in consumer.unreadable().values())

                allow(theirs, "READ", True)
                reading.until_came(theirs, 40)
                reading.until(lambda: not consumer.unreadable(), "nobody is told that it is over")
            ours.close(2)
        owner.close(2)


def look_around(consumer: Consumer) -> None:
    """The client asks where partitions are, as it does each minute."""
    assert isinstance(consumer, KafkaConsumer)
    session: Any = consumer._client
    session._client._client.cluster.request_update()
