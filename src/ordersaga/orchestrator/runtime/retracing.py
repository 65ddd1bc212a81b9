"""After a restore from a backup: leads sagas that were STARTED in it along what the log has of them.

The backup knows nothing of the steps that they went since, so they would ask for them once more, and a service that
recognises no repeat would do them once more: another hold of the customer's money. So, while no orchestrator runs, what
was asked and answered since is read from the log and handed to each of them as it was said, and nothing that the log
has is sent. One that was being taken back is taken back. A step that was never asked for is not begun here: the saga
waits before it, until an orchestrator has read all that was said.

The promise: what is in the log since that moment is not asked for again. The non-promise: what the log has no more, or
a broker only appends later. To do it twice is harmless.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ordersaga.bus.protocol import Bus, Record
from ordersaga.orchestrator.core.instance import Instance, Status
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.intake import Letter
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.track import Track, own_of
from ordersaga.orchestrator.store.protocol import Store
from ordersaga.orchestrator.store.references import references_in
from ordersaga.orchestrator.store.search import Search
from ordersaga.wire.codec import Foreign, decode_event
from ordersaga.wire.errors import WireError
from ordersaga.wire.topics import Topics

AnyInstance = Instance[Any]
_IDLE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Retraced:
    """How many sagas were STARTED, and what they are since."""

    began: int = 0
    now: Counter[Status] = field(default_factory=Counter)
    unknown_versions: int = 0
    """Left as they are: only another version knows them."""
    damaged: int = 0
    """The same: their rows cannot be read."""


class Retracing:
    def __init__(self, store: Store, handler: Handler, sagas: Sagas, bus: Bus, topics: Topics) -> None:
        self._store = store
        self._handler = handler
        self._sagas = sagas
        self._bus = bus
        self._topics = topics

    def run(self, since_ms: int, *, by: str, why: str) -> Retraced:
        """From that moment on (Unix time). Raises `StoreError`, `BusUnavailable`: some are led then."""
        done, tracks, known = Retraced(), dict[UUID, Track](), dict[str, set[UUID]]()
        for instance in self._started(done):
            tracks[instance.saga_id] = Track(instance.saga_id, by, why)
            for reference in references_in(instance.data):
                known.setdefault(reference, set()).add(instance.saga_id)
        done.began = len(tracks)
        if tracks:
            self._read_named(tracks, known, since_ms)
            self._read_by_reference(tracks, known, since_ms)
        for track in tracks.values():
            if (after := self._handler.follow(track)) is not None:
                done.now[after.status] += 1
        return done

    def _started(self, done: Retraced) -> Iterator[AnyInstance]:
        search, after = Search(statuses=frozenset({Status.STARTED})), None
        while True:
            page = self._store.page(search, after=after)
            done.unknown_versions += len(page.unknown_versions)
            done.damaged += len(page.damaged)
            yield from page.instances
            after = page.next_after
            if after is None:
                return

    def _read_named(self, tracks: dict[UUID, Track], known: dict[str, set[UUID]], since_ms: int) -> None:
        """What they said themselves, and what names them; with it come orders and payments by which others do."""
        keys = {str(saga_id).encode(): track for saga_id, track in tracks.items()}
        answers, notifications = set(self._topics.answers()), self._topics.notification_events

        def take(record: Record) -> None:
            if record.topic in answers:
                letter = _letter(record)
                if letter is not None and letter.envelope.saga_id in tracks:
                    tracks[letter.envelope.saga_id].letters.append(letter)
                    for reference in references_in(letter.envelope.body):
                        known.setdefault(reference, set()).add(letter.envelope.saga_id)
            elif (track := keys.get(record.key or b"")) is not None and (own := own_of(record)) is not None:
                track.add(own, is_notification=record.topic == notifications)

        topics = set(self._topics.all()) - {self._topics.saga_dead_letters}
        self._bus.read_log(topics, take, since_ms, _IDLE_SECONDS)

    def _read_by_reference(self, tracks: dict[UUID, Track], known: dict[str, set[UUID]], since_ms: int) -> None:
        """What names none of them, but an order or a payment of theirs: see `Addressees`."""

        def take(record: Record) -> None:
            letter = _letter(record)
            if letter is None or letter.envelope.saga_id in tracks:
                return
            body: Any = letter.envelope.body
            if letter.saga_id is None or self._sagas.may_come_unasked(body):
                for saga_id in {one for name in references_in(body) for one in known.get(name, ())}:
                    tracks[saga_id].letters.append(letter)

        self._bus.read_log(self._topics.answers(), take, since_ms, _IDLE_SECONDS)


def _letter(record: Record) -> Letter | None:
    try:
        envelope = decode_event(record.value)
    except WireError:
        return None
    return None if isinstance(envelope, Foreign) else Letter(record, envelope)
