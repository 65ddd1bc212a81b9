"""Whether new orders are taken: a person's switch, and bounds on what may be under way.

An order that is refused costs its customer a second try; one that is taken and then waits for hours costs trust. What
is under way is never touched.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ordersaga.delivery.background import Health
from ordersaga.orchestrator.store.board_protocol import Posted


@dataclass(frozen=True, kw_only=True)
class AdmissionLimits:
    started_max: int = 20_000
    """Sagas on their way forward."""
    outbox_rows_max: int = 100_000
    """Messages that wait to be published: they pile up while no broker is there."""
    behind_seconds_max: float = 1.0
    """How long an answer waits until a process reads it. A saga waits five times, so it takes about five times as long,
    and so does coming back to normal; with more taken in, both would have no bound but the one above.
    """


TOO_BUSY = "Too many orders are under way. Please try again in a few seconds."
STARTING = "Orders are not taken yet. Please try again in a few seconds."


class NotAdmitted(Exception):
    """No new order now. `kind` is a short code, `retry_after_seconds` when to ask again; the text is for customers."""

    retriable = True

    def __init__(self, kind: str, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds


class Admission:
    def __init__(self, limits: AdmissionLimits, behind_seconds: Callable[[], float] = lambda: 0.0) -> None:
        """`behind_seconds`: how long what comes now waits in this process; it is asked for every order."""
        self._limits = limits
        self._behind_seconds = behind_seconds
        self._posted: Posted | None = None

    @property
    def count_to(self) -> int:
        """How far it is worth to count."""
        return max(self._limits.started_max, self._limits.outbox_rows_max)

    def learn(self, posted: Posted) -> None:
        self._posted = posted

    def learn_behind(self, seconds: float) -> None:
        """How long what comes now waits in another process: the rest is as it was."""
        if self._posted is not None:
            self._posted = replace(self._posted, behind_seconds=seconds)

    @property
    def behind_seconds(self) -> float:
        """How long what comes now waits in this process."""
        return self._behind_seconds()

    def falls_behind(self) -> bool:
        """Whether this process, or another, has more in hand than it can do soon: quick to ask."""
        others = self._posted.behind_seconds if self._posted else 0.0
        return max(self._behind_seconds(), others) > self._limits.behind_seconds_max

    def check(self) -> None:
        """Raises `NotAdmitted`; also until the board has been read once: a restart does not turn a switch."""
        posted = self._posted
        if posted is None:
            raise NotAdmitted("starting", STARTING, 2)
        if (switch := posted.switch) is not None and not switch.taken:
            raise NotAdmitted("orders-are-stopped", "No orders are taken at the moment. Please try again later.", 60)
        if posted.started >= self._limits.started_max or posted.outbox_rows >= self._limits.outbox_rows_max:
            raise NotAdmitted("too-busy", TOO_BUSY, 5)
        if self.falls_behind():
            raise NotAdmitted("too-busy", TOO_BUSY, 2)

    def health(self) -> Health:
        """Healthy as soon as the board has been read: refusing is what it is for. The detail says why it does."""
        posted, said = self._posted, []
        if posted is None:
            return Health(name="orders", healthy=False, detail="it is not known yet whether they are taken")
        if (switch := posted.switch) is not None and not switch.taken:
            said.append(f"stopped by {switch.by} at {switch.at:%Y-%m-%d %H:%M:%S} UTC: {switch.why}")
        if posted.started >= self._limits.started_max:
            said.append(f"{self._limits.started_max} sagas or more are under way")
        if posted.outbox_rows >= self._limits.outbox_rows_max:
            said.append(f"{self._limits.outbox_rows_max} messages or more wait to be published")
        if self.falls_behind():
            said.append(f"what comes now waits for more than {self._limits.behind_seconds_max:g} s until it is read")
        return Health(name="orders", healthy=True, detail="; ".join(said))
