"""Reads the board and writes on it, about once a second: the one loop between circuits, admission and the database."""

from ordersaga.delivery.background import Health, Loop
from ordersaga.delivery.clock import Clock, Randomness
from ordersaga.orchestrator.runtime.admission import Admission
from ordersaga.orchestrator.runtime.circuits import Circuits
from ordersaga.orchestrator.store.board_protocol import Board

EVERY_SECONDS = 1.0


class Bulletin:
    """Same start, stop and health as any other part. What it last read stays in force while the database is away."""

    def __init__(
        self,
        board: Board,
        circuits: Circuits,
        admission: Admission,
        *,
        every_seconds: float = EVERY_SECONDS,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._board = board
        self._circuits = circuits
        self._admission = admission
        self._every_seconds = every_seconds
        self._loop = Loop("bulletin", self.turn, clock=clock, randomness=randomness, restart_most_seconds=5.0)

    def turn(self) -> None:
        silent, answered = self._circuits.take_news()
        if silent or answered:
            try:
                self._board.tell(silent, answered)
            except Exception:
                self._circuits.untold(silent, answered)
                raise
        posted = self._board.read(self._admission.count_to)
        self._circuits.learn(posted.silences)
        self._admission.learn(posted)
        self._loop.pause(self._every_seconds)

    def start(self) -> None:
        self._loop.start()

    def stop(self, timeout_seconds: float) -> bool:
        return self._loop.stop(timeout_seconds)

    def health(self) -> Health:
        return self._loop.health()
