"""A pooler in transaction mode, as pgbouncer is one: each transaction gets whichever connection to the server is free.

Two connections take turns, so what is left on one (a prepared statement, a search path) is never there for the next
transaction. It knows as much of the protocol as that takes.
"""

import selectors
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from urllib.parse import urlsplit, urlunsplit

_TERMINATE = b"X"
"""Ends a client's connection, not the pooler's own.
"""
_PROTOCOL, _ENCRYPTION_REQUESTS = 196_608, (80_877_103, 80_877_104)


@dataclass
class _Server:
    """One connection to the server, past its greeting."""

    sock: socket.socket
    greeting: bytes


@dataclass
class Pooler:
    host: str
    port: int
    user: str
    database: str
    taken: list[int] = field(default_factory=list)
    """Which connection each transaction got."""
    _servers: list[_Server] = field(default_factory=list)
    _free: deque[int] = field(default_factory=deque)
    _changed: Condition = field(default_factory=Condition)
    _serving: list[Thread] = field(default_factory=list)

    def connect(self, count: int) -> None:
        for number in range(count):
            sock = socket.create_connection((self.host, self.port), 5)
            sock.settimeout(None)
            told = f"user\0{self.user}\0database\0{self.database}\0\0".encode()
            sock.sendall(struct.pack("!II", len(told) + 8, _PROTOCOL) + told)
            self._servers.append(_Server(sock, _greeting(sock)))
            self._free.append(number)

    def accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                self._serving.append(Thread(target=self._serve, args=(near,), daemon=True))
                self._serving[-1].start()

    def close(self) -> None:
        """Once all have hung up: a socket that is closed under whoever waits for it may be another's soon."""
        for thread in self._serving:
            thread.join(10)
            assert not thread.is_alive(), "a client of the pooler was not closed"
        for server in self._servers:
            server.sock.close()

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError, ConnectionError):
            while struct.unpack("!I", (start := _startup(near))[:4])[0] in _ENCRYPTION_REQUESTS:
                near.sendall(b"N")
            assert b"options" not in start, "a pooler passes on no settings of a connection"
            near.sendall(self._servers[0].greeting)
            while (data := near.recv(65_536)) and data[:1] != _TERMINATE:
                self._transaction(near, data)
        near.close()

    def _transaction(self, near: socket.socket, data: bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            number = self._free.popleft()
            self.taken.append(number)
        try:
            self._pass_on(near, self._servers[number].sock, data)
        finally:
            with self._changed:
                self._free.append(number)
                self._changed.notify()

    def _pass_on(self, near: socket.socket, far: socket.socket, data: bytes) -> None:
        """Until the server is ready and in no transaction, and nothing more was asked."""
        asked, answered = _Messages(b"QS"), _Messages(b"Z")
        asked.add(data)
        far.sendall(data)
        with selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ, (near, asked, far))
            selector.register(far, selectors.EVENT_READ, (far, answered, near))
            while asked.whole != answered.whole or answered.last != b"I" or asked.open:
                for key, _ in selector.select():
                    source, messages, sink = key.data
                    if not (data := source.recv(65_536)):
                        raise ConnectionError("hung up")
                    messages.add(data)
                    sink.sendall(data)


class _Messages:
    """Counts the messages of some kinds in a stream."""

    def __init__(self, kinds: bytes) -> None:
        self._kinds = kinds
        self._buffer = b""
        self.whole = 0
        self.last = b""
        """The first byte of what the last of them held."""
        self.open = False
        """Whether something came after the last of them."""

    def add(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 5 and len(self._buffer) > (size := struct.unpack("!I", self._buffer[1:5])[0]):
            kind, body, self._buffer = self._buffer[:1], self._buffer[5 : size + 1], self._buffer[size + 1 :]
            self.open = kind not in self._kinds
            if not self.open:
                self.whole += 1
                self.last = body[:1]
        self.open = self.open or bool(self._buffer)


def _startup(near: socket.socket) -> bytes:
    size = struct.unpack("!I", _exactly(near, 4))[0]
    return _exactly(near, size - 4)


def _greeting(sock: socket.socket) -> bytes:
    said = b""
    while True:
        head = _exactly(sock, 5)
        said += head + _exactly(sock, struct.unpack("!I", head[1:])[0] - 4)
        if head[:1] == b"Z":
            return said


def _exactly(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        if not (data := sock.recv(size - len(found))):
            raise ConnectionError("hung up")
        found += data
    return found


@contextmanager
def pooled(database_url: str, *, servers: int = 2) -> Iterator[tuple[str, Pooler]]:
    """The address of a pooler in front of a database that asks for no password."""
    parts = urlsplit(database_url)
    pooler = Pooler(parts.hostname or "", parts.port or 5432, parts.username or "", parts.path.lstrip("/"))
    pooler.connect(servers)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=pooler.accept, args=(listener,), daemon=True).start()
        address = f"{parts.username}@127.0.0.1:{listener.getsockname()[1]}"
        yield urlunsplit(parts._replace(netloc=address)), pooler
    pooler.close()
