"""Signals that end a command as Ctrl-C does, so that it takes back what it has begun, and tidies up.

Promised: each SIGINT, SIGTERM and SIGHUP raises `KeyboardInterrupt` on the main thread: the first one asks, the second
one insists. A SIGHUP that is to be ignored is, as under `nohup`. Not promised: that it is raised while the main thread
is in a call that nothing interrupts.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupted_by_signals(came: Callable[[], object] = lambda: None) -> Iterator[None]:
    """To be entered on the main thread. `came` is called first, each time: an exception that is raised while the
    interpreter tidies up gets lost.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        came()
        raise KeyboardInterrupt

    heard = [one for one in _ENDING if one is not signal.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]
    before = [(one, signal.signal(one, interrupt)) for one in heard]
    try:
        yield
    finally:
        for one, handler in before:
            signal.signal(one, handler if handler is not None else signal.SIG_DFL)
