"""Participants as processes on real Kafka, on topics of their own, which can be killed and examined."""

import os
from dataclasses import fields
from itertools import count

from ordersaga.bus.kafka import KafkaBus, KafkaTimings
from ordersaga.bus.protocol import TopicSpec
from ordersaga.local.kafka import Kafka
from ordersaga.wire.topics import Topics

PARTITIONS = 3
_numbers = count(1)


def own_topics() -> tuple[str, Topics]:
    """With the prefix of their names."""
    prefix = f"conformance_{os.getpid()}_{next(_numbers)}_"
    return prefix, Topics(**{field.name: prefix + field.name for field in fields(Topics)})


def kafka_bus(cluster: Kafka, topics: Topics) -> KafkaBus:
    bus = KafkaBus(cluster.bootstrap_servers, timings=KafkaTimings(heartbeat_interval_ms=300))
    bus.create_topics([TopicSpec(name, PARTITIONS, {}) for name in topics.all()])
    return bus
