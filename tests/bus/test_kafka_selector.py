"""It tells the library what the plain one tells it, with fewer calls to the system."""

import fcntl
import selectors
import socket
from collections.abc import Iterator
from contextlib import closing
from random import Random
from typing import Any

import pytest
from kafka.net.selector import NetworkSelector

from ordersaga.bus.kafka_selector import KafkaSelector
from ordersaga.bus.kafka_settings import KafkaSecurity, KafkaTimings, common_settings

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
HIGH = 800


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def selector() -> Iterator[KafkaSelector]:
    with KafkaSelector() as selector:
        yield selector


def ready(selector: selectors.BaseSelector) -> set[tuple[int, Any, int]]:
    return {(key.fd, key.data, events) for key, events in selector.select(0)}


def test_every_client_waits_with_it() -> None:
    settings = common_settings("127.0.0.1:9092", KafkaSecurity(), KafkaTimings())
    with closing(NetworkSelector(selector=settings["selector"])) as network:
        assert isinstance(network._selector, KafkaSelector)


def test_what_was_taken_out_is_not_told_of(selector: KafkaSelector, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    selector.register(near, READ, "first")
    far.send(b"1")
    selector.unregister(near)
    with pytest.raises(KeyError):
        selector.get_key(near)
    assert ready(selector) == set()
    assert len(selector.get_map()) == 0


def test_what_comes_back_at_once_costs_no_call_to_the_system(
    selector: KafkaSelector, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = pair
    selector.register(near, READ, "first")
    far.send(b"1")

    def called(*_: object) -> None:
        raise AssertionError("a call to the system")

    watched = type("Watched", (), {"register": called, "unregister": called, "modify": called})()
    with monkeypatch.context() as patch:
        patch.setattr(selector, "_selector", watched)
        selector.unregister(near)
        selector.register(near, READ, "second")
        assert selector.get_key(near).data == "second"
    assert ready(selector) == {(near.fileno(), "second", READ)}


def test_the_error_that_says_no_does_not_quote_the_socket(selector: KafkaSelector) -> None:
    class Silent(socket.socket):
        def __repr__(self) -> str:
            raise AssertionError("two calls to the system")

    with Silent() as one, pytest.raises(KeyError):
        selector.get_key(one)


@pytest.mark.parametrize("taken_out", [True, False], ids=["taken out", "registered"])
def test_a_descriptor_that_is_used_again_belongs_to_its_new_socket(selector: KafkaSelector, taken_out: bool) -> None:
    old, far = numbered_pair(HIGH)
    number = old.fileno()
    selector.register(old, READ, "old")
    if taken_out:
        selector.unregister(old)
    old.close()
    if not taken_out:  # as the library does: it asks for the key of what is closed, and takes it out
        assert selector.get_key(old).data == "old"
        selector.unregister(old)
    far.close()
    new, far = numbered_pair(number)
    with new, far:
        assert new.fileno() == number
        selector.register(new, READ, "new")
        far.send(b"1")
        assert ready(selector) == {(number, "new", READ)}
        selector.unregister(new)


def numbered_pair(least: int) -> tuple[socket.socket, socket.socket]:
    """The first has a descriptor that nothing else in the process comes to."""
    near, far = socket.socketpair()
    with near:
        return socket.socket(fileno=fcntl.fcntl(near.fileno(), fcntl.F_DUPFD_CLOEXEC, least)), far


@pytest.mark.parametrize("seed", range(30))
def test_it_tells_what_the_plain_one_tells(seed: int) -> None:
    """Whatever the order in which sockets are registered, changed, taken out, closed and written to."""
    chance = Random(seed)
    with KafkaSelector() as ours, selectors.DefaultSelector() as plain:
        pairs = [socket.socketpair() for _ in range(4)]
        for number in range(300):
            which = chance.randrange(len(pairs))
            near, far = pairs[which]
            for selector in (ours, plain):
                act(selector, near, chance_of(seed, number), number)
            match chance.randrange(6):
                case 0:
                    far.send(b"1")
                case 1:
                    assert ready(ours) == ready(plain)
                case 2 if chance.random() < 0.1:
                    near.close()
                    for selector in (ours, plain):
                        take_out(selector, near)
                    far.close()
                    pairs[which] = socket.socketpair()
        assert ready(ours) == ready(plain)
        for near, far in pairs:
            near.close()
            far.close()


def chance_of(seed: int, number: int) -> Random:
    return Random(seed * 1000 + number)


def act(selector: selectors.BaseSelector, near: socket.socket, chance: Random, data: int) -> None:
    """As the library does: what it does with a socket depends on whether it has a key."""
    try:
        selector.get_key(near)
    except KeyError:
        selector.register(near, chance.choice([READ, READ, WRITE]), data)
        return
    if chance.random() < 0.7:
        selector.unregister(near)
    else:
        selector.modify(near, chance.choice([READ, READ | WRITE]), data)


def take_out(selector: selectors.BaseSelector, closed: socket.socket) -> None:
    try:
        selector.get_key(closed)
        selector.unregister(closed)
    except (KeyError, ValueError):
        pass


def test_what_another_thread_takes_out_while_one_waits_is_not_told_of(
    selector: KafkaSelector, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = pair
    selector.register(near, READ, "first")
    wait = selectors.DefaultSelector.select

    def meanwhile(self: KafkaSelector, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        far.send(b"1")
        found = wait(self, timeout)
        selector.unregister(near)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(selectors.DefaultSelector, "select", meanwhile)
        assert ready(selector) == set()
    assert ready(selector) == set() and len(selector.get_map()) == 0
