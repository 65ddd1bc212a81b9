"""What has to be there before work can begin: the schema, the topics. Asked for until it is there, in the background.

A process that starts before its database or its brokers does not give up: it is alive, says in its health what it waits
for, and begins as soon as it can. Work begins once every `required` step is done; the others are tried once before, and
then beside it until they succeed. One that can never succeed is given up: required, nothing begins; else the work does
without it, and says so.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from ordersaga.delivery.background import GiveUpError, Health, Loop
from ordersaga.delivery.clock import SystemClock, SystemRandom, backoff_seconds
from ordersaga.process import Runnable

_log = structlog.get_logger(__name__)
PAUSE_SECONDS = 1.0
LONGER_FIRST_SECONDS, LONGER_MOST_SECONDS = 2.0, 60.0
"""Between tries that hold up others while they last."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """`do` may be repeated, and says by an exception that is `retriable` that it should be; by one that
    `holds_up_others`, that it should be seldom.
    """

    name: str
    do: Callable[[], object]
    required: bool = True


class Prepared:
    """Something that is started when its preparation is done. Same start, stop and health as any other part."""

    def __init__(self, steps: Sequence[Step], then: Runnable) -> None:
        self._left = list(steps)
        self._then = then
        self._begun = False
        self._troubles: dict[str, str] = {}
        """Why a step is not done, by its name. What was given up stays."""
        self._tries: Counter[str] = Counter()
        """Those that held up others, by step."""
        self._not_before: dict[str, float] = {}
        self._clock, self._randomness = SystemClock(), SystemRandom()
        self._loop = Loop("preparation", self._turn)

    def start(self) -> None:
        self._loop.start()

    def stop(self, timeout_seconds: float) -> bool:
        self._loop.request_stop()
        # A step that hangs leaves nothing half done: it is not waited for.
        self._loop.join(0.5)
        return self._then.stop(timeout_seconds) if self._begun else True

    def health(self) -> Health:
        """Whether work has begun: every required step is done. Of the others: `besides`."""
        if self._begun:
            return Health(name="preparation", healthy=True)
        return Health(name="preparation", healthy=False, detail=self._why() or "about to begin")

    def besides(self) -> Health:
        """Whether what the work has begun without is there too."""
        missing = self._why() if self._begun else ""
        return Health(name="optional preparation", healthy=not missing, detail=missing)

    def _turn(self) -> None:
        now = self._clock.monotonic()
        for step in list(self._left):
            if self._not_before.get(step.name, now) <= now and self._is_over(step):
                self._left.remove(step)
        if not self._begun and not any(step.required for step in self._left) and not self._loop.stopping:
            self._then.start()
            self._begun = True
        if self._left:
            self._loop.pause(PAUSE_SECONDS)
        else:
            self._loop.request_stop()

    def _is_over(self, step: Step) -> bool:
        """Whether it need not be tried again. Raises `GiveUpError` where nothing can begin without it."""
        try:
            step.do()
        except Exception as error:
            trouble = f"{step.name}: {error}"
            if getattr(error, "retriable", False):
                if trouble != self._troubles.get(step.name):
                    _log.warning("preparation.waits", step=step.name, error=str(error))
                self._troubles[step.name] = trouble
                if getattr(error, "holds_up_others", False):
                    self._put_off(step)
                return False
            self._troubles[step.name] = f"gave up: {trouble}"
            if step.required:
                raise GiveUpError(trouble) from error
            _log.error("preparation.gave_up", step=step.name, error=str(error))
            return True
        self._troubles.pop(step.name, None)
        return True

    def _why(self) -> str:
        untold = [step.name for step in self._left if step.name not in self._troubles]
        return "; ".join([*self._troubles.values(), *([f"waits for {', '.join(untold)}"] if untold else [])])

    def _put_off(self, step: Step) -> None:
        self._tries[step.name] += 1
        seconds = backoff_seconds(
            self._tries[step.name], first=LONGER_FIRST_SECONDS, most=LONGER_MOST_SECONDS, randomness=self._randomness
        )
        self._not_before[step.name] = self._clock.monotonic() + seconds
