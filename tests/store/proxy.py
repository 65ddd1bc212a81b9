"""A proxy in front of a database that loses the answer to COMMIT."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from urllib.parse import urlsplit, urlunsplit


class LossyProxy:
    """Passes everything on, until it is told what to do with the answer to the next COMMIT.

    `lose` "cut": the connection ends in place of the answer. "hang": nothing more is said on it.
    """

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self.lose = ""
        self.lost = Event()
        self._listener = listener
        self._target = target
        self._open: list[socket.socket] = []

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target, 5)
                far.settimeout(None)
                self._open += [near, far]
                committing = Event()
                Thread(target=self._ask, args=(near, far, committing), daemon=True).start()
                Thread(target=self._answer, args=(far, near, committing), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for one in self._open:
            _end(one)

    def _ask(self, near: socket.socket, far: socket.socket, committing: Event) -> None:
        with suppress(OSError):
            while data := near.recv(65_536):
                if self.lose and b"COMMIT" in data:
                    committing.set()
                far.sendall(data)
        _end(far)

    def _answer(self, far: socket.socket, near: socket.socket, committing: Event) -> None:
        with suppress(OSError):
            while data := far.recv(65_536):
                if not committing.is_set():
                    near.sendall(data)
                elif self.lose == "cut":
                    break
                else:
                    self.lost.set()
        self.lost.set()
        _end(near)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def lossy_proxy(url: str) -> Iterator[tuple[LossyProxy, str]]:
    """The proxy, and the URL of the same database through it."""
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = LossyProxy(listener, (parts.hostname or "", parts.port or 5432))
        acceptor = Thread(target=proxy.accept, daemon=True)
        acceptor.start()
        place = parts.netloc.rpartition(":")[0] + f":{listener.getsockname()[1]}"
        try:
            yield proxy, urlunsplit(parts._replace(netloc=place))
        finally:
            proxy.close()
            acceptor.join(10)
