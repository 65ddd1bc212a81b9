"""The library itself, for what our bus has no words for: reading from now on, topics of one run. It warns while it is
imported, which our client knows how to deal with: so that comes first.
"""

import ordersaga.bus.kafka_client  # noqa: F401 (see above)

# isort: split
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

__all__ = ["KafkaAdminClient", "KafkaConsumer", "KafkaProducer", "NewTopic", "TopicPartition"]
