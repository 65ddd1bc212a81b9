"""Hears what a participant says, and files it under the saga that it is said of.

It reads the events topic from its beginning, in a group of its own that is never used again, and keeps what carries a
correlation id of this examination. Of all else only the latest are kept, to find answers that went astray.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any
from uuid import UUID, uuid4

from ordersaga.bus.protocol import Bus, BusError, Record
from ordersaga.wire.codec import decode_event
from ordersaga.wire.errors import WireError

_ASTRAY_MAX = 5_000
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Heard:
    """One event, read as leniently as can be: what is wrong with it is for the checks to say."""

    record: Record
    said: dict[str, Any] = field(default_factory=dict)
    """The envelope; empty where it is no JSON object."""

    @property
    def type(self) -> str:
        return str(self.said.get("type"))

    @property
    def payload(self) -> dict[str, Any]:
        payload = self.said.get("payload")
        return payload if isinstance(payload, dict) else {}

    @property
    def message_id(self) -> UUID | None:
        try:
            return UUID(str(self.said.get("message_id")))
        except ValueError:
            return None

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value.decode(errors="replace") for name, value in self.record.headers}

    def trouble(self) -> str:
        """Why it cannot be read as the contract has it; empty where it can."""
        try:
            decode_event(self.record.value)
        except WireError as error:
            return str(error)
        return ""


class Ear:
    """Used by many threads: one fills it, the checks wait at it."""

    def __init__(self, bus: Bus, topic: str) -> None:
        name = f"conformance-{uuid4().hex[:12]}"
        self._consumer = bus.consumer(group=name, topics=[topic], client_id=name)
        self._changed = Condition()
        self._heard: dict[str, list[Heard]] = {}
        self._astray: deque[Heard] = deque(maxlen=_ASTRAY_MAX)
        self._ended = False
        self._thread = Thread(target=self._listen, name="conformance-ear", daemon=True)
        self._thread.start()

    def expect(self, correlation_id: str) -> None:
        """From now on, what is said under this id is kept."""
        with self._changed:
            self._heard.setdefault(correlation_id, [])

    def heard(self, correlation_id: str) -> list[Heard]:
        with self._changed:
            return list(self._heard[correlation_id])

    def astray(self, *texts: str) -> list[Heard]:
        """What was said under nobody's id and has one of these texts in it."""
        wanted = [text.encode() for text in texts if text]
        with self._changed:
            return [one for one in self._astray if any(text in (one.record.value or b"") for text in wanted)]

    def wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Until `holds`, which is asked again whenever something was heard; False when it never did."""
        with self._changed:
            return self._changed.wait_for(holds, seconds)

    def close(self) -> None:
        self._ended = True
        self._consumer.wake()
        self._thread.join(5.0)
        self._consumer.close(2.0)

    def _listen(self) -> None:
        while not self._ended:
            try:
                records = self._consumer.poll(500, _POLL_SECONDS)
            except BusError as error:
                if not error.retriable:
                    return
                continue
            self._file(records)

    def _file(self, records: Sequence[Record]) -> None:
        found = [Heard(record, _read(record.value)) for record in records]
        with self._changed:
            for one in found:
                self._heard.get(str(one.said.get("correlation_id")), self._astray).append(one)
            if found:
                self._changed.notify_all()


def _read(value: bytes | None) -> dict[str, Any]:
    try:
        said = json.loads(value or b"")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
