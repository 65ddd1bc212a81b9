"""Named places where a test, or an operator of a test system, makes a process die, fail or dawdle.

Each name is declared where it stands, with a sentence, so that the list of places is read from the code and a new one
cannot stay untested. A hit costs one look at a dictionary while nothing is armed.

    ORDERSAGA_FAILPOINTS="relay.after_publish=kill@3;consume.after_handle=sleep:0.5"

`kill` is SIGKILL to this process, `raise` an exception, `sleep:S` S seconds; `@N` means only the N-th hit, else every
hit.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

VARIABLE = "ORDERSAGA_FAILPOINTS"

_declared: dict[str, str] = {}
_armed: dict[str, "_Armed"] = {}


def declare(name: str, sentence: str) -> str:
    """Called once, at import, by the module in which the place is; returns `name`."""
    assert _declared.setdefault(name, sentence) == sentence, f"two failpoints are called {name}"
    return name


def declared() -> Mapping[str, str]:
    """Every place of the modules imported so far, with its sentence."""
    return dict(_declared)


def hit(name: str) -> None:
    if _armed:
        armed_here = _armed.get(name)
        if armed_here is not None:
            armed_here.hit()


def arm_from_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Arm what the variable names. Raises ValueError for a place that is not declared or an action that is none."""
    for entry in filter(None, environment.get(VARIABLE, "").replace(",", ";").split(";")):
        name, found, action = entry.strip().partition("=")
        if not found:
            raise ValueError(f"{VARIABLE}: {entry!r} is not name=action")
        _arm(name, _parse(name, action))


def disarm() -> None:
    _armed.clear()


@contextmanager
def armed(name: str, action: str | Callable[[], None]) -> Iterator[None]:
    """For tests: `action` as in the environment, or something to call. Disarmed on leaving the block."""
    _arm(name, _parse(name, action) if isinstance(action, str) else _Armed(act=action))
    try:
        yield
    finally:
        _armed.pop(name, None)


class FailpointError(Exception):
    """What an armed `raise` raises: a failure that nobody foresaw, so it is not retriable."""

    retriable = False


@dataclass
class _Armed:
    act: Callable[[], None]
    only_hit: int | None = None
    hits: int = 0
    lock: Lock = field(default_factory=Lock)

    def hit(self) -> None:
        with self.lock:
            self.hits += 1
            due = self.only_hit is None or self.hits == self.only_hit
        if due:
            self.act()


def _arm(name: str, action: _Armed) -> None:
    if name not in _declared:
        raise ValueError(f"there is no failpoint {name!r}; there are: {', '.join(sorted(_declared))}")
    _armed[name] = action


def _parse(name: str, text: str) -> _Armed:
    what, counted, count = text.strip().partition("@")
    verb, _, argument = what.partition(":")
    only_hit = int(count) if counted else None
    if verb == "kill" and not argument:
        return _Armed(act=_kill, only_hit=only_hit)
    if verb == "raise" and not argument:
        return _Armed(act=lambda: _raise(name), only_hit=only_hit)
    if verb == "sleep":
        seconds = float(argument)
        return _Armed(act=lambda: time.sleep(seconds), only_hit=only_hit)
    raise ValueError(f"failpoint {name}: {text!r} is neither kill, raise nor sleep:SECONDS")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(name: str) -> None:
    raise FailpointError(f"failpoint {name}")
