"""The board in PostgreSQL: small tables of its own, which no saga's transaction touches."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from psycopg_pool import ConnectionPool

from ordersaga.delivery.arrays import Integers, Texts
from ordersaga.orchestrator.store.board_protocol import (
    BEHIND_FOR_SECONDS,
    SHOWN_MAX,
    Pause,
    Posted,
    Silence,
    Switch,
    Troubled,
)
from ordersaga.orchestrator.store.connections import AnyConnection, Connections, statements
from ordersaga.wire.topics import Participant

_SQL = statements("board.sql")
_KNOWN: Mapping[Any, Participant] = {one.value: one for one in Participant}


class PostgresBoard:
    """See `store.board_protocol.Board`."""

    def __init__(
        self, pool: ConnectionPool[AnyConnection], *, timeout_seconds: float = 10.0, schema: str | None = None
    ) -> None:
        """`pool` and `schema` as for `PostgresStore`; the pool is the store's to close."""
        self._ask = Connections(pool, timeout_seconds, schema).ask

    def tell(self, silent: Mapping[Participant, int], answered: Collection[Participant]) -> None:
        names = sorted({*silent, *answered})
        values = {
            "participants": Texts([name.value for name in names]),
            "commands": Integers([silent.get(name, 0) for name in names]),
            "answered": Texts(sorted(name.value for name in answered)),
        }
        self._ask(_SQL["tell"], values)

    def tell_behind(self, process: str, seconds: float) -> None:
        self._ask(_SQL["tell_behind"], {"process": process, "seconds": seconds})

    def read(self, most: int, *, process: str = "") -> Posted:
        # Another version may know participants that this one does not.
        silences = {
            _KNOWN[name]: Silence(commands=commands, since=since.astimezone(UTC))
            for name, commands, since in self._ask(_SQL["silences"], {})
            if name in _KNOWN
        }
        asked = {"most": most, "shown": SHOWN_MAX, "process": process, "behind_for_seconds": BEHIND_FOR_SECONDS}
        (found,) = self._ask(_SQL["posted"], asked)
        started, outbox_rows, behind_seconds, *more = found
        failed, attention, dead_letters, orphans, deadlines, taken, by, why, at, *pause = more
        troubled = Troubled(
            failed=failed, attention=attention, dead_letters=dead_letters, orphans=orphans, deadlines=deadlines
        )
        return Posted(
            silences=silences,
            switch=None if at is None else Switch(taken=taken, by=by, why=why, at=at.astimezone(UTC)),
            pause=_pause(*pause),
            started=started,
            outbox_rows=outbox_rows,
            behind_seconds=behind_seconds,
            troubled=troubled,
        )

    def behind(self, *, process: str = "") -> float:
        ((seconds,),) = self._ask(_SQL["behind"], {"process": process, "behind_for_seconds": BEHIND_FOR_SECONDS})
        return float(seconds)

    def under_way(self, most: int) -> int:
        ((count,),) = self._ask(_SQL["under_way"], {"most": most})
        return int(count)

    def set_switch(self, *, taken: bool, by: str, why: str, role: str = "operator") -> Switch:
        ((at,),) = self._ask(_SQL["set_admission"], {"taken": taken, "by": by, "role": role, "why": why})
        return Switch(taken=taken, by=by, why=why, at=at.astimezone(UTC))

    def set_pause(self, *, paused: bool, by: str, why: str, role: str = "operator") -> Pause:
        ((at,),) = self._ask(_SQL["set_consumption"], {"paused": paused, "by": by, "role": role, "why": why})
        return Pause(paused=paused, by=by, why=why, at=at.astimezone(UTC))


def _pause(paused: bool | None, by: str, why: str, at: datetime, seconds_ago: float) -> Pause | None:
    if paused is None:
        return None
    return Pause(paused=paused, by=by, why=why, at=at.astimezone(UTC), seconds_ago=float(seconds_ago))
