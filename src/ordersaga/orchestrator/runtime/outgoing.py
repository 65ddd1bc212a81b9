"""From decisions to records: which topic, which key, which headers."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from ordersaga.bus.protocol import Outgoing
from ordersaga.orchestrator.core.inputs import Send
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.store.protocol import DeadLetter
from ordersaga.wire.codec import encode
from ordersaga.wire.headers import headers_for
from ordersaga.wire.ids import text_of
from ordersaga.wire.messages import type_of
from ordersaga.wire.topics import Topics

SOURCE = "order-saga-orchestrator"
ParentOf = Callable[[Send, Instance[Any]], str | None]


def to_records(
    sends: Iterable[Send], instance: Instance[Any], topics: Topics, now: datetime, parent_of: ParentOf | None = None
) -> list[Outgoing]:
    """Keyed by saga id, so that what a saga sends to one topic stays in order. `parent_of`: which span a message
    belongs to; None: to that of the request.
    """
    saga_id = text_of(instance.saga_id)
    key = saga_id.encode()
    records = []
    for send in sends:
        headers = headers_for(
            type_of(send.body),
            message_id=send.message_id,
            correlation_id=saga_id,
            timestamp=now,
            source=SOURCE,
            traceparent=parent_of(send, instance) if parent_of else instance.traceparent,
            tracestate=instance.tracestate,
        )
        value = encode(send.body, correlation_id=saga_id, timestamp=now, source=SOURCE, message_id=send.message_id)
        topic = topics.commands_of(send.to) if send.to else topics.saga_events
        records.append(Outgoing(topic, key, value, headers))
    return records


def dead_letter_record(dead: DeadLetter, topics: Topics) -> Outgoing:
    """A copy for `saga_dead_letters`: the record as it came, and in headers where it came from and why it cannot be
    used.
    """
    origin = (
        ("dead_letter_topic", dead.topic.encode()),
        ("dead_letter_partition", str(dead.partition).encode()),
        ("dead_letter_offset", str(dead.offset).encode()),
        ("dead_letter_timestamp_ms", str(dead.timestamp_ms).encode()),
        ("dead_letter_reason", dead.reason.encode()),
        ("dead_letter_detail", dead.detail.encode("utf-8", "replace")),
    )
    key = dead.key or f"{dead.topic}/{dead.partition}/{dead.offset}".encode()
    return Outgoing(topics.saga_dead_letters, key, dead.value or b"", (*dead.headers, *origin))
