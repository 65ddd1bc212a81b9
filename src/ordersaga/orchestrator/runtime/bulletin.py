"""Reads the board and writes on it, about once a second: the one loop between circuits, switches and the database.

Who falls behind is told and looked for several times a second: a door that learns of it late lets in a rush that lasts
many times as long.
"""

import structlog

from ordersaga.delivery.background import Health, Loop, Looped
from ordersaga.delivery.clock import Clock, Randomness, SystemClock
from ordersaga.orchestrator.runtime.admission import Admission
from ordersaga.orchestrator.runtime.circuits import Circuits
from ordersaga.orchestrator.runtime.pausing import Pausing
from ordersaga.orchestrator.store.board_protocol import SHOWN_MAX, Board, Troubled

EVERY_SECONDS = 1.0
BEHIND_EVERY_SECONDS = 0.25
RESTART_MOST_SECONDS = 5.0
"""Until it is tried again, where the board could not be read for a while."""
TELL_EVERY_SECONDS = 600.0
_log = structlog.get_logger(__name__)


class Bulletin(Looped):
    """What it last read stays in force while the database is away."""

    def __init__(
        self,
        board: Board,
        circuits: Circuits,
        admission: Admission,
        pausing: Pausing | None = None,
        *,
        process: str = "",
        takes_orders: bool = True,
        every_seconds: float = EVERY_SECONDS,
        behind_every_seconds: float = BEHIND_EVERY_SECONDS,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        """`process`: the name of this one, other than that of any other. `takes_orders`: whether it matters to this one
        that others fall behind.
        """
        self._board = board
        self._circuits = circuits
        self._admission = admission
        self._pausing = pausing or Pausing()
        self._process = process
        self._told_behind = 0.0
        self._takes_orders = takes_orders
        self._every_seconds, self._behind_every_seconds = every_seconds, behind_every_seconds
        self._read_at = 0.0
        self._clock = clock or SystemClock()
        self._troubled = Troubled()
        self._tell_again_at = 0.0
        restart = RESTART_MOST_SECONDS
        self._loop = Loop("bulletin", self.turn, clock=self._clock, randomness=randomness, restart_most_seconds=restart)

    def turn(self) -> None:
        self._tell_behind(self._admission.behind_seconds)
        now = self._clock.monotonic()
        if now >= self._read_at:
            self._read()
            self._read_at = now + self._every_seconds
        elif self._takes_orders:
            self._admission.learn_behind(self._board.behind(process=self._process))
        self._loop.pause(min(self._every_seconds, self._behind_every_seconds))

    def _read(self) -> None:
        silent, answered = self._circuits.take_news()
        if silent or answered:
            try:
                self._board.tell(silent, answered)
            except Exception:
                self._circuits.untold(silent, answered)
                raise
        posted = self._board.read(self._admission.count_to, process=self._process)
        self._circuits.learn(posted.silences)
        self._admission.learn(posted)
        self._pausing.learn(posted)
        self._tell_people(posted.troubled)

    def people_needed(self) -> Health:
        """Healthy always: the process is. The detail says what waits for a person."""
        return Health(name="sagas", healthy=True, detail=_in_words(self._troubled))

    def _tell_behind(self, seconds: float) -> None:
        """While it is so, and once when it is over."""
        if seconds or self._told_behind:
            self._board.tell_behind(self._process, seconds)
            self._told_behind = seconds

    def _tell_people(self, troubled: Troubled) -> None:
        """When it has changed, and again and again while it lasts: nothing that is stuck is quiet."""
        now = self._clock.monotonic()
        counts = {"failed": troubled.failed, "attention": troubled.attention}
        counts |= {"orphans": troubled.orphans, "deadlines": troubled.deadlines}
        if any(counts.values()) and (troubled != self._troubled or now >= self._tell_again_at):
            _log.warning("sagas.need_a_person", **counts)
            self._tell_again_at = now + TELL_EVERY_SECONDS
        self._troubled = troubled


def _in_words(troubled: Troubled) -> str:
    counts = {
        "FAILED": troubled.failed,
        "with attention": troubled.attention,
        "dead letters": troubled.dead_letters,
        "orphans": troubled.orphans,
        "failing deadlines": troubled.deadlines,
    }
    return ", ".join(
        f"{count if count < SHOWN_MAX else f'{SHOWN_MAX} or more'} {what}" for what, count in counts.items() if count
    )
