"""The proxy does what it says: a fault that never came would prove whatever is tested with it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.faults.proxy import Fault, FaultProxy
from tests.waiting import until


class Echo:
    """Answers every line with itself, and remembers them."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65_536):
                self.heard.append(data)
                connection.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.socket.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy(echo.port) as made:
        yield made


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 2) as made:
        yield made


def said(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(100)


def test_what_is_said_passes_both_ways(client: socket.socket) -> None:
    assert said(client, b"hello") == b"hello"


def test_much_passes_whole(client: socket.socket) -> None:
    much = bytes(range(256)) * 40_000
    threading.Thread(target=client.sendall, args=(much,), daemon=True).start()
    found = bytearray()
    while len(found) < len(much):
        found += client.recv(1_000_000)
    assert bytes(found) == much


def test_refused_connections_end_and_new_ones_are_made_after_it(proxy: FaultProxy, client: socket.socket) -> None:
    assert said(client, b"hello") == b"hello"
    proxy.break_(Fault.REFUSE)
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 2)
    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), 2) as again:
        assert said(again, b"again") == b"again"


def test_a_blackhole_holds_everything_until_it_ends(proxy: FaultProxy, echo: Echo, client: socket.socket) -> None:
    assert said(client, b"hello") == b"hello"
    proxy.break_(Fault.BLACKHOLE)
    client.sendall(b"lost?")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(100)
    assert echo.heard == [b"hello"]
    proxy.heal()
    client.settimeout(2)
    assert client.recv(100) == b"lost?"


def test_an_answer_is_dropped_and_the_connection_does_not_outlive_it(
    proxy: FaultProxy, echo: Echo, client: socket.socket
) -> None:
    assert said(client, b"hello") == b"hello"
    proxy.break_(Fault.DROP_ANSWERS)
    client.sendall(b"heard")
    until(lambda: echo.heard[-1] == b"heard", "the server has heard it")
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_a_delay_keeps_the_order(proxy: FaultProxy, client: socket.socket) -> None:
    assert said(client, b"hello") == b"hello"
    proxy.break_(Fault.DELAY, delay_seconds=0.2)
    begun = time.monotonic()
    client.sendall(b"1")
    assert client.recv(1) == b"1"
    assert time.monotonic() - begun >= 0.4, "both ways"
    client.sendall(b"2")
    proxy.heal()
    client.sendall(b"3")
    assert client.recv(1) + client.recv(1) == b"23"


def test_what_is_cut_is_cut_once(proxy: FaultProxy, client: socket.socket) -> None:
    assert said(client, b"hello") == b"hello"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), 2) as again:
        assert said(again, b"again") == b"again"
