"""What the client library logs: capped, because at DEBUG it writes keys, values and passwords; and listened to, because
the cause of a failed connection is nowhere else.
"""

import logging
import time
from collections import deque

TELLING = (("Sasl", "SSL", "certificate", "Authentication", "Handshake"), ("socket disconnected",), ("",))
"""Most telling first."""
_TIMED_OUT = "timed out"


class Causes(logging.Handler):
    """The last things that the library logged about connections."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._messages: deque[tuple[float, str]] = deque(maxlen=50)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().replace("\n", " ")[:300]
        if not message.startswith("Bootstrap failed"):  # which says only that all attempts did
            self._messages.append((time.monotonic(), message))

    def since(self, began: float) -> str:
        """Why an attempt failed: the last of the most telling ones, or nothing. A try that ran out of time tells little
        beside one that was refused.
        """
        messages = [message for at, message in reversed(self._messages.copy()) if at >= began]
        told = [message for message in messages if _TIMED_OUT not in message] or messages
        return next((message for words in TELLING for message in told if any(word in message for word in words)), "")


CAUSES = Causes()


def cap_and_listen() -> None:
    logger = logging.getLogger("kafka")
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("kafka.")]:
        if 0 < logging.getLogger(name).level < logging.INFO:
            logging.getLogger(name).setLevel(logging.INFO)
    if logger.level < logging.INFO:
        logger.setLevel(logging.INFO)
    net = logging.getLogger("kafka.net")
    if CAUSES not in net.handlers:
        net.addHandler(CAUSES)
