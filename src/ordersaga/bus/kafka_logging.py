"""What the client library logs: capped, because at DEBUG it writes keys, values and passwords; and listened to, because
the cause of a failed connection is nowhere else.
"""

import logging
import time


class Causes(logging.Handler):
    """The last thing that the library logged about a connection."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._at = 0.0
        self._message = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().replace("\n", " ")[:300]
        if not message.startswith("Bootstrap failed"):  # which says only that all attempts did
            self._at, self._message = time.monotonic(), message

    def since(self, began: float) -> str:
        return self._message if self._at >= began else ""


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
