"""What has to be there before work can begin: the schema, the topics. Asked for until it is there, in the background.

A process that starts before its database or its brokers does not give up: it is alive, says in its health what it waits
for, and begins as soon as it can. Work begins once every `required` step is done; the others are tried once before, and
then beside it until they succeed.
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
        self._trouble = ""
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
        if self._begun and not self._left:
            return Health(name="preparation", healthy=True)
        return Health(name="preparation", healthy=False, detail=self._trouble or self._waits_for())

    def _turn(self) -> None:
        now = self._clock.monotonic()
        due = [step for step in self._left if self._not_before.get(step.name, now) <= now]
        done = [step for step in due if self._succeeds(step)]
        self._left = [step for step in self._left if step not in done]
        if not self._begun and not any(step.required for step in self._left) and not self._loop.stopping:
            self._then.start()
            self._begun = True
        if self._left:
            self._loop.pause(PAUSE_SECONDS)
        else:
            self._loop.request_stop()

    def _succeeds(self, step: Step) -> bool:
        try:
            step.do()
        except Exception as error:
            trouble = f"{step.name}: {error}"
            if not getattr(error, "retriable", False):
                self._trouble = f"gave up: {trouble}"
                raise GiveUpError(trouble) from error
            if trouble != self._trouble:
                _log.warning("preparation.waits", step=step.name, error=str(error))
            self._trouble = trouble
            if getattr(error, "holds_up_others", False):
                self._put_off(step)
            return False
        self._trouble = ""
        return True

    def _put_off(self, step: Step) -> None:
        self._tries[step.name] += 1
        seconds = backoff_seconds(
            self._tries[step.name], first=LONGER_FIRST_SECONDS, most=LONGER_MOST_SECONDS, randomness=self._randomness
        )
        self._not_before[step.name] = self._clock.monotonic() + seconds

    def _waits_for(self) -> str:
        return f"waits for {', '.join(step.name for step in self._left)}" if self._left else "about to begin"
