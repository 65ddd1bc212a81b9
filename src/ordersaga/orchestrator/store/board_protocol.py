"""What processes tell each other through the database, besides the sagas: who answers nobody, whether orders are taken
and answers read, and who falls behind.

A process learns of it about once a second, of who falls behind sooner. Nothing here is needed for a saga to be right;
it keeps an outage from becoming thousands of doubts, and a rush from becoming one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ordersaga.wire.topics import Participant


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """`commands` in a row that were not answered, by all processes' count, the first of them noticed at `since`."""

    commands: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Whether new orders are taken; who said so, and why."""

    taken: bool
    by: str
    why: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Whether what the services say is read; who said so, and why."""

    paused: bool
    by: str
    why: str
    at: datetime
    seconds_ago: float = 0.0
    """On the database's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubled:
    """How much waits for a person, each counted to `SHOWN_MAX`."""

    failed: int = 0
    """FAILED sagas that nobody has resolved."""
    attention: int = 0
    dead_letters: int = 0
    orphans: int = 0
    deadlines: int = 0
    """Those that fail."""


SHOWN_MAX = 1_000
BEHIND_FOR_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What the board says."""

    silences: Mapping[Participant, Silence] = field(default_factory=dict)
    switch: Switch | None = None
    """None where nobody ever touched it: orders are taken."""
    pause: Pause | None = None
    """None where nobody ever paused: all is read."""
    started: int = 0
    """Sagas on their way forward, counted as far as was asked for."""
    outbox_rows: int = 0
    behind_seconds: float = 0.0
    """How long what comes now waits until it is read, at that of the other processes where it waits longest."""
    troubled: Troubled = Troubled()


class Board(Protocol):
    def tell(self, silent: Mapping[Participant, int], answered: Collection[Participant]) -> None:
        """Commands that were not answered since this process last told, after the answer of those in `answered`.
        Raises `StoreError`.
        """

    def tell_behind(self, process: str, seconds: float) -> None:
        """How long what comes now waits at `process` until it is read. It counts for `BEHIND_FOR_SECONDS`, unless told
        anew. Raises `StoreError`.
        """

    def read(self, most: int, *, process: str = "") -> Posted:
        """`most`: how far to count; `process`: who asks, and knows itself how it is. Raises `StoreError`."""

    def behind(self, *, process: str = "") -> float:
        """`Posted.behind_seconds` alone, which costs next to nothing whatever is under way. Raises `StoreError`."""

    def under_way(self, most: int) -> int:
        """Sagas that wait for an answer, or for a participant: also those that have ended and take back what came late.
        It looks at every deadline, so it is for who asks now and then. `most`: how far to count. Raises `StoreError`.
        """

    def set_switch(self, *, taken: bool, by: str, why: str, role: str = "operator") -> Switch:
        """The audit has it, with the role in which `by` acts. Raises `StoreError`."""

    def set_pause(self, *, paused: bool, by: str, why: str, role: str = "operator") -> Pause:
        """The same."""
