"""The plainest proxy: passes bytes between a port and another until it is closed."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread


@contextmanager
def forwarded(from_port: int, to_port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", from_port)) as listener:
        Thread(target=_accept, args=(listener, to_port), daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, to_port: int) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", to_port), 5)
            far.settimeout(None)
            for source, target in ((near, far), (far, near)):
                Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with source, suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
