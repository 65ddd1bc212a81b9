"""The board of a process without a database; several processes of a simulation may share one."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock

import msgspec

from ordersaga.orchestrator.core.instance import GOING_BACK, Status
from ordersaga.orchestrator.store.board_protocol import (
    BEHIND_FOR_SECONDS,
    SHOWN_MAX,
    Pause,
    Posted,
    Silence,
    Switch,
    Troubled,
)
from ordersaga.orchestrator.store.memory_tables import MemoryTables
from ordersaga.wire.topics import Participant


class MemoryBoard:
    """See `store.board_protocol.Board`."""

    def __init__(self, tables: MemoryTables, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._tables = tables
        self._now = now
        self._lock = Lock()
        self._silences: dict[Participant, Silence] = {}
        self._switch: Switch | None = None
        self._pause: Pause | None = None
        self._behind: dict[str, tuple[float, datetime]] = {}

    def tell(self, silent: Mapping[Participant, int], answered: Collection[Participant]) -> None:
        with self._lock:
            for name in answered:
                self._silences.pop(name, None)
            for name, commands in silent.items():
                known = self._silences.get(name)
                since = known.since if known else self._now()
                self._silences[name] = Silence(commands=commands + (known.commands if known else 0), since=since)

    def tell_behind(self, process: str, seconds: float) -> None:
        with self._lock:
            self._behind[process] = seconds, self._now()

    def read(self, most: int, *, process: str = "") -> Posted:
        tables = self._tables
        with tables.changed:
            started = sum(row.status is Status.STARTED for row in tables.sagas.values())
            going_back = sum(row.status in GOING_BACK for row in tables.sagas.values())
            states = [(row.status, msgspec.json.decode(row.state)) for row in tables.sagas.values()]
            unseen = [(status, state) for status, state in states if not state.get("resolved")]
            letters = sum(one.settled is None for one in tables.dead_letters.values())
            orphans = sum(one.settled is None for one in tables.orphans.values())
            failing = len(tables.failing)
        troubled = Troubled(
            failed=min(SHOWN_MAX, sum(status is Status.FAILED for status, _ in unseen)),
            attention=min(SHOWN_MAX, sum(bool(state.get("attention")) for _, state in unseen)),
            dead_letters=min(SHOWN_MAX, letters),
            orphans=min(SHOWN_MAX, orphans),
            deadlines=min(SHOWN_MAX, failing),
        )
        with self._lock:
            silences = {name: silence for name, silence in self._silences.items() if silence.commands}
            return Posted(
                silences=silences,
                switch=self._switch,
                pause=self._pause_now(),
                started=min(started, most),
                going_back=min(going_back, most),
                outbox_rows=min(len(tables.outbox.rows), most),
                behind_seconds=self._behind_but(process),
                troubled=troubled,
            )

    def behind(self, *, process: str = "") -> float:
        with self._lock:
            return self._behind_but(process)

    def set_switch(self, *, taken: bool, by: str, why: str, role: str = "operator") -> Switch:
        with self._lock:
            self._switch = Switch(taken=taken, by=by, why=why, at=self._now())
            return self._switch

    def set_pause(self, *, paused: bool, by: str, why: str, role: str = "operator") -> Pause:
        with self._lock:
            self._pause = Pause(paused=paused, by=by, why=why, at=self._now())
            return self._pause

    def _behind_but(self, process: str) -> float:
        now, apart = self._now(), timedelta(seconds=BEHIND_FOR_SECONDS)
        told = [seconds for name, (seconds, at) in self._behind.items() if name != process and abs(now - at) < apart]
        return max(told, default=0.0)

    def _pause_now(self) -> Pause | None:
        pause = self._pause
        return replace(pause, seconds_ago=(self._now() - pause.at).total_seconds()) if pause else None
