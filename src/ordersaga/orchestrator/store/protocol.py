"""What the orchestrator asks of its store.

A store promises that one transaction holds the new state, its history, its deadlines and its outgoing messages, or
none of them; and that two workers cannot change one saga at the same time. It has the only clock that counts:
`Loaded.now`.

Two implementations: `store.postgres` and `store.memory`. One suite of tests runs over both.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from ordersaga.bus.protocol import Outgoing, Record
from ordersaga.delivery.messages import OutboxRow
from ordersaga.orchestrator.core.instance import Instance
from ordersaga.orchestrator.store.errors import NOT_RUN_HERE as NOT_RUN_HERE
from ordersaga.orchestrator.store.errors import BadRow as BadRow
from ordersaga.orchestrator.store.errors import CommitUnknown as CommitUnknown
from ordersaga.orchestrator.store.errors import DamagedRow as DamagedRow
from ordersaga.orchestrator.store.errors import KeyTaken as KeyTaken
from ordersaga.orchestrator.store.errors import SchemaInUse as SchemaInUse
from ordersaga.orchestrator.store.errors import SchemaMismatch as SchemaMismatch
from ordersaga.orchestrator.store.errors import StaleWrite as StaleWrite
from ordersaga.orchestrator.store.errors import StoreError as StoreError
from ordersaga.orchestrator.store.errors import StoreUnavailable as StoreUnavailable
from ordersaga.orchestrator.store.errors import Unclaimed as Unclaimed
from ordersaga.orchestrator.store.errors import UnknownVersion as UnknownVersion
from ordersaga.orchestrator.store.errors import WriteRefused as WriteRefused
from ordersaga.orchestrator.store.lookup import Loaded as Loaded
from ordersaga.orchestrator.store.lookup import Lookup as Lookup
from ordersaga.orchestrator.store.search import EVERYTHING, Search
from ordersaga.orchestrator.store.standing import Standing, StoreCounts
from ordersaga.orchestrator.store.statistics_protocol import Sum

AnyInstance = Instance[Any]


class HistoryEntry(Struct, frozen=True, kw_only=True):
    """One transition, append-only, in the same transaction as the state: what caused it, what it changed, what was
    sent. No personal data.
    """

    revision: int
    cause: str
    """The type of the event, or `started`, `deadline.command`, `deadline.window`, `verb.cancel`,
    `read_again.taken_back`, ...
    """
    body: Mapping[str, Any]
    """JSON: ids and names only (step, statuses, effect ids, message ids sent, actor, role, reason ...)."""


class Change(Struct, frozen=True, kw_only=True):
    """What one batch did to one saga. `before` is None for a new saga. Several decisions on one saga in a batch are
    one change.
    """

    before: AnyInstance | None
    after: AnyInstance
    history: Sequence[HistoryEntry]
    messages: Sequence[Outgoing]
    """In the order in which they must be published."""


class DeadlineKind(StrEnum):
    COMMAND = "command"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Due:
    saga_id: UUID
    kind: DeadlineKind
    due_at: datetime


def due_of(instance: AnyInstance, kind: DeadlineKind) -> datetime | None:
    """When an instance is to be looked at; None: not by this deadline."""
    return instance.command_due_at if kind is DeadlineKind.COMMAND else instance.window_due_at


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An incoming record that cannot be used, whole, with the reason and where it came from."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int
    reason: str
    """A short code for counting, such as `unreadable` or `decide_failed`."""
    detail: str
    """One line for a person."""

    @property
    def record(self) -> Record:
        """As it came."""
        headers = tuple((name, value) for name, value in self.headers)
        return Record(self.topic, self.partition, self.offset, self.key, self.value, headers, self.timestamp_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """An answer in our vocabulary for a saga that nobody knows: kept and shown, never acted upon without an
    operator.
    """

    saga_id: UUID
    type: str
    topic: str
    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyEvent:
    """An event that names an order or a payment which no saga knows yet: it has overtaken the answer that brings the
    id. Kept for an hour, by that id.
    """

    reference: str
    """`order_id o-1` or `payment_id p-1`: see `store.references`."""
    topic: str
    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """What a client calls one wish of its own, so that it may ask again without wishing twice."""

    principal: str
    """Whose it is: keys of different clients have nothing to do with each other."""
    key: str
    fingerprint: bytes
    """Of what was wished for."""
    saga_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """All that one transaction writes."""

    changes: Sequence[Change] = ()
    dead_letters: Sequence[DeadLetter] = ()
    orphans: Sequence[Orphan] = ()
    early: Sequence[EarlyEvent] = ()
    messages: Sequence[Outgoing] = ()
    """Messages of no saga, such as copies of dead letters."""
    keys: Sequence[RequestKey] = ()
    sums: Sequence[Sum] = ()
    """What it adds to the statistics."""
    rearmed: Sequence[Due] = ()
    """Deadlines that were looked at, and when they are due next."""
    learnt: Collection[str] = ()
    """References (see `store.references`) that its sagas have just learnt."""


class SettledAs(StrEnum):
    REPLAYED = "replayed"
    """Taken in once more, and used."""
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a dead letter, or of an orphan."""

    at: datetime
    how: SettledAs
    by: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """`settled` is None while it is open."""

    id: int
    at: datetime
    letter: DeadLetter
    settled: Settled | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrphan:
    """`settled` is None while it is open."""

    id: int
    at: datetime
    orphan: Orphan
    settled: Settled | None = None


class Transaction(Protocol):
    def load(self, wanted: Lookup, *, skip_locked: bool = False) -> Loaded:
        """Lock and read, in the order of ids, so that two batches cannot wait for each other. Once per transaction,
        for the same reason, and once more at most for what was missing. What is in the archive is moved back first: its
        late news has come.

        With `skip_locked`, instances that another transaction holds are left out, and so is the archive. Raises
        `DamagedRow` where one of them is.
        """

    def claim(self, references: Collection[str]) -> Sequence[EarlyEvent]:
        """Take out what was kept for ids that have just been learnt, in the order of arrival on each partition. Until
        this transaction ends nobody else can keep an event for them; who then wants to is told to look again. Needless
        where nothing is kept, as nearly always: `save` says where it was needed.
        """

    def save(self, batch: Batch) -> Sequence[OutboxRow]:
        """Write everything, as arrays; returns the outbox rows of this batch in the order of `changes`, then
        `messages`. They are there once the transaction has committed: nobody may be told of them before.

        Personal data are written where `before` and `after` do not hold the same object, and erased where `after` has
        none. A deadline that is due later than before stays where it is: who finds it early puts it right (`rearmed`).
        One that was put off is due at once when its saga moves.

        Raises `Unclaimed` where an event is kept for one of `learnt`, `KeyTaken` where a request key is there already
        (one that another transaction is about to write is waited for), `BadRow` when the database refuses what a row
        holds, `StaleWrite` when an instance is not the one that was loaded or when an early event is no longer early,
        `StoreUnavailable`. A Change with no new revision (before.revision == after.revision) is refused as an
        assertion: it is a bug of ours.
        """

    def settle_dead_letter(self, letter_id: int, how: SettledAs, by: str, why: str, role: str = "operator") -> bool:
        """False where it was settled before, or is not there: nothing is changed then. Before or after `save`. The
        audit has it, with the role in which `by` acts.
        """

    def discard_orphan(self, orphan_id: int, by: str, why: str, role: str = "operator") -> bool:
        """The same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaPage:
    """`next_after` is the id to pass as `after` for the next page; None: there is none. Where a search leaves few of
    many, a page may hold fewer than were asked for, or none, and there is a next one all the same.
    """

    instances: Sequence[AnyInstance]
    next_after: UUID | None
    unknown_versions: Collection[UUID] = ()
    """Left out, as far as this process can see: see `UnknownVersion`."""
    damaged: Collection[UUID] = ()
    """Left out, too: see `DamagedRow`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaCount:
    count: int
    is_least: bool
    """There were too many to look at all: perhaps there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHistory:
    revision: int
    at: datetime
    cause: str
    body: Mapping[str, Any]


class Store(Protocol):
    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commits on leaving the block, rolls back on an exception.

        Raises `StoreUnavailable` where no connection is to be had or it broke, `CommitUnknown` where the answer to
        COMMIT was lost (the state may or may not be written: load again and decide anew), `BadRow`, `StaleWrite`.
        """

    def due(self, limit: int, *, windows_past_seconds: float = 0.0) -> Sequence[Due]:
        """Deadlines that have passed on the database's clock, windows at least so long ago, oldest first, without a
        lock: whoever acts on one loads the instance and looks again. Some are found before their time, none after it:
        see `Transaction.save`. Those of sagas or versions that this process does not know are for others, and not
        found.
        """

    def put_off(self, due: Due, seconds: float) -> None:
        """For what cannot be acted upon: it fails, and is due in so many seconds, by the database's clock. One that was
        moved or cleared since it was found stays as it is.
        """

    def get(self, saga_id: UUID) -> AnyInstance | None:
        """From the archive too. Raises `UnknownVersion`, `DamagedRow`."""

    def of_order(self, order_id: str) -> Sequence[UUID]:
        """The sagas of an order, newest first, those in the archive too, and those of a version that is not known."""

    def page(self, search: Search = EVERYTHING, *, limit: int = 100, after: UUID | None = None) -> SagaPage:
        """What is searched for, at most 100, newest first (or oldest), beyond the saga whose id is `after`."""

    def count(self, search: Search = EVERYTHING) -> SagaCount: ...

    def history(self, saga_id: UUID) -> Sequence[StoredHistory]:
        """In the order of revisions, from the archive too."""

    def dead_letters(
        self, *, reason: str | None = None, settled: bool = False, limit: int = 100, before: int | None = None
    ) -> Sequence[StoredDeadLetter]:
        """Newest first, at most 100, older than the one whose id is `before`; open ones only, unless `settled`."""

    def parked(self, reason: str, *, after: int = 0, limit: int = 100) -> Sequence[StoredDeadLetter]:
        """Open ones of one reason, in the order in which they came, at most 100, beyond the one whose id is `after`."""

    def dead_letter(self, letter_id: int) -> StoredDeadLetter | None: ...

    def orphans(
        self, *, saga_id: UUID | None = None, settled: bool = False, limit: int = 100, before: int | None = None
    ) -> Sequence[StoredOrphan]:
        """As `dead_letters`."""

    def orphan(self, orphan_id: int) -> StoredOrphan | None: ...

    def request(self, principal: str, key: str) -> RequestKey | None:
        """What was wished for under a key, in the last two days."""

    def counts(self) -> StoreCounts: ...

    def standing(self) -> Standing: ...

    def check(self, timeout_seconds: float, *, to_write: bool = True, remembered: bool = True) -> None:
        """Return if the database answers now, its schema is one that this version can use and, unless it is only to be
        read, it can be written to: it is no standby and, where that is `remembered`, has not just refused what was
        written. Raises `StoreUnavailable`, `SchemaMismatch`.
        """

    def upkeep(self) -> bool:
        """To be called daily by each process: makes room for the history of weeks to come, forgets what nobody will ask
        for again. Whether more of that is left than a turn of some seconds does: then call again soon. Harmless at any
        time.
        """

    def close(self) -> None:
        """Whatever is asked from now on raises `StoreUnavailable`."""
