"""A circuit breaker for each participant: while one answers nobody, no step of its is begun.

An outage would otherwise put every order that comes meanwhile in doubt: asked for, never answered, to be taken back.
So after some commands in a row without any answer the circuit opens: sagas wait before their next step (the engine
holds them), and one step now and then is let through to see. The first answer of any kind closes it. Undos are never
held; they have a patience of their own, and serve as questions too.

Silences are summed over all processes by way of the board, since whoever notices a silence is often not who begins
the next step. Probes are each process's own.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Protocol

import structlog

from ordersaga.delivery.background import Health
from ordersaga.orchestrator.store.board_protocol import Silence
from ordersaga.wire.topics import Participant

_log = structlog.get_logger(__name__)
QUIET_SECONDS = 3.0
"""Who was heard of since then is there: commands may go unanswered by many at once where a process of ours has died."""
DEAF_SECONDS = 15.0
"""Where nobody at all was heard of, it may be we who do not hear: a process of ours has died with its partitions, which
are divided anew within this time. Till then silence says nothing of anybody; nor does it while what was said meanwhile
is only being read.
"""
POSTED_FOR = timedelta(seconds=1)
"""A command that takes long looks at the board again."""
PROBE_FIRST_SECONDS, PROBE_MOST_SECONDS = 5.0, 20.0
"""Between two steps that are let through: twice as long after each that was not answered."""


class Gate(Protocol):
    """What the handler asks, and what it tells."""

    def shut(self) -> frozenset[Participant]: ...

    def asked(self, participant: Participant) -> None: ...

    def looks_on(self, now: datetime) -> None: ...

    def was_there(self, sent_at: datetime) -> bool: ...

    def heard(self, answered: Collection[Participant], silent: Mapping[Participant, int]) -> None: ...


class AlwaysOpen:
    """Where nothing is ever held."""

    def shut(self) -> frozenset[Participant]:
        return frozenset()

    def asked(self, participant: Participant) -> None:
        """Nothing follows from it."""

    def looks_on(self, now: datetime) -> None:
        """Nothing follows from it."""

    def was_there(self, sent_at: datetime) -> bool:
        return True

    def heard(self, answered: Collection[Participant], silent: Mapping[Participant, int]) -> None:
        """Nothing follows from it."""


ALWAYS_OPEN = AlwaysOpen()


class AsPosted(AlwaysOpen):
    """For a single command, which hears nobody itself: shut is whoever answers nobody by what the board says. It lets
    no step through to see: that is for processes that hear the answer.
    """

    def __init__(self, silences: Callable[[], Mapping[Participant, Silence]], *, silences_max: int) -> None:
        """`silences`: as the board has them now. `silences_max`: as for `Circuits`."""
        self._silences = silences
        self._silences_max = silences_max
        self._shut: frozenset[Participant] = frozenset()
        self._again_at: datetime | None = None

    def shut(self) -> frozenset[Participant]:
        return self._shut

    def looks_on(self, now: datetime) -> None:
        """About once a second: a command may take up thousands of sagas, one after the other."""
        if self._again_at is None or now >= self._again_at:
            posted = self._silences().items()
            self._shut = frozenset(name for name, one in posted if 0 < self._silences_max <= one.commands)
            self._again_at = now + POSTED_FOR


class Circuits:
    """Cheap while all is well: a step costs a look at an empty set."""

    def __init__(self, *, silences_max: int, seconds: Callable[[], float] = monotonic) -> None:
        """`silences_max`: so many in a row open a circuit; 0: none ever. `seconds`: a clock that never goes back."""
        self._silences_max = silences_max
        self._seconds = seconds
        self._lock = Lock()
        self._here_since: datetime | None = None
        """On the database's clock."""
        self._silent: Counter[Participant] = Counter()
        """In a row, all processes together as far as known."""
        self._since: dict[Participant, datetime] = {}
        self._untold: Counter[Participant] = Counter()
        self._answered: set[Participant] = set()
        self._answered_at: dict[Participant, float] = {}
        """When each was heard of last, here."""
        self._anybody_at = seconds() - QUIET_SECONDS
        """When anybody was. At the start nobody could be heard yet."""
        self._hearing_since = self._anybody_at
        """Since when there was no such gap."""
        self._silent_at: dict[Participant, float] = {}
        """When the first silence in a row was noticed, here."""
        self._probe_at: dict[Participant, float] = {}
        self._pause: dict[Participant, float] = {}
        """Of those that are open."""

    def shut(self) -> frozenset[Participant]:
        """Whose steps are to be held now."""
        if not self._pause:
            return frozenset()
        now = self._seconds()
        with self._lock:
            return frozenset(name for name in self._pause if now < self._probe_at[name])

    def asked(self, participant: Participant) -> None:
        """A step was begun: of an open circuit that was a probe, and the next has to wait."""
        if participant in self._pause:
            with self._lock:
                if (pause := self._pause.get(participant)) is not None:
                    self._probe_at[participant] = self._seconds() + pause
                    self._pause[participant] = min(2 * pause, PROBE_MOST_SECONDS)

    def looks_on(self, now: datetime) -> None:
        """With each transaction; the first says since when this process is there."""
        if self._here_since is None:
            self._here_since = now

    def was_there(self, sent_at: datetime) -> bool:
        """Whether silence on a command that was sent then says something of the participant: what a process before this
        one sent may have been held up by its end.
        """
        return self._here_since is not None and sent_at >= self._here_since

    def heard(self, answered: Collection[Participant], silent: Mapping[Participant, int]) -> None:
        """What a transaction's inputs showed: who answered, and how many commands were not."""
        if answered:
            self._hear(answered, self._seconds())
        if not silent and not (self._silent and any(name in self._silent for name in answered)):
            return
        with self._lock:
            for name in answered:
                if self._silent.pop(name, 0):
                    self._answered.add(name)
                    self._untold.pop(name, None)
                    self._close(name)
            self._silent.update(silent)
            self._untold.update(silent)
            self._open_those_that_are_silent()

    def take_news(self) -> tuple[Mapping[Participant, int], Collection[Participant]]:
        """What the board has to be told; given back with `heard` where it could not be."""
        with self._lock:
            news = dict(self._untold), set(self._answered)
            self._untold.clear()
            self._answered.clear()
            return news

    def untold(self, silent: Mapping[Participant, int], answered: Collection[Participant]) -> None:
        """The board could not be told."""
        with self._lock:
            self._untold.update({name: count for name, count in silent.items() if name not in self._answered})
            self._answered |= set(answered)

    def learn(self, posted: Mapping[Participant, Silence]) -> None:
        """What all processes together have noticed."""
        with self._lock:
            self._silent = Counter({name: one.commands + self._untold[name] for name, one in posted.items()})
            self._silent.update({name: count for name, count in self._untold.items() if name not in posted})
            for name in self._answered:
                self._silent.pop(name, None)
            self._since = {name: one.since for name, one in posted.items()}
            for name in [name for name in self._pause if not self._silent[name]]:
                self._close(name)
            self._open_those_that_are_silent()

    def health(self) -> Health:
        """Healthy always: it is not this process that is ill. The detail names who answers nobody."""
        with self._lock:
            said = [
                f"{name.value} has not answered {self._silent[name]} commands{self._ago(name)}: its steps wait"
                for name in sorted(self._pause)
            ]
        return Health(name="participants", healthy=True, detail="; ".join(said))

    def _ago(self, name: Participant) -> str:
        since = self._since.get(name)
        return f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""

    def _open_those_that_are_silent(self) -> None:
        now = self._seconds()
        self._silent_at = {name: self._silent_at.get(name, now) for name in self._silent if self._silent[name]}
        for name, commands in self._silent.items():
            if 0 < self._silences_max <= commands and name not in self._pause and self._is_its_silence(name, now):
                self._pause[name] = PROBE_FIRST_SECONDS
                self._probe_at[name] = now + PROBE_FIRST_SECONDS
                _log.warning("circuit.opened", participant=name.value, unanswered=commands)

    def _hear(self, answered: Collection[Participant], now: float) -> None:
        if now - self._anybody_at >= QUIET_SECONDS:
            self._hearing_since = now
        self._anybody_at = now
        self._answered_at.update(dict.fromkeys(answered, now))

    def _is_its_silence(self, name: Participant, now: float) -> bool:
        """And not our deafness: others were heard of all the time, or it has lasted longer than that can."""
        if now - self._answered_at.get(name, -math.inf) < QUIET_SECONDS:
            return False
        hears = now - self._anybody_at < QUIET_SECONDS <= now - self._hearing_since
        return hears or now - self._anybody_at >= DEAF_SECONDS or now - self._silent_at[name] >= DEAF_SECONDS

    def _close(self, name: Participant) -> None:
        if self._pause.pop(name, None) is not None:
            del self._probe_at[name]
            _log.info("circuit.closed", participant=name.value)
