"""Free ports, held against everyone who asks."""

import socket
from collections.abc import Iterator

import pytest

from ordersaga.local.failures import LocalError
from ordersaga.local.ports import FIRST_PORT, LAST_PORT, free_port, free_ports, hold_port, release_ports

from .watching import program

HOLDER = """
import json, signal, sys
from ordersaga.local.ports import free_ports
print(json.dumps(free_ports(int(sys.argv[1]))), flush=True)
signal.pause()
"""


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    yield port
    release_ports([port])


def test_ports_lie_where_the_kernel_takes_none_for_outgoing_connections() -> None:
    ports = free_ports(50)
    release_ports(ports)
    assert len(set(ports)) == 50
    assert all(FIRST_PORT <= port <= LAST_PORT < 32_768 for port in ports)


def test_a_port_is_not_given_twice(port: int) -> None:
    with pytest.raises(LocalError, match=str(port)):
        hold_port(port)


def test_a_port_that_is_listened_on_is_not_free(port: int) -> None:
    release_ports([port])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(LocalError, match="taken"):
        hold_port(port)


def test_a_released_port_can_be_had_again(port: int) -> None:
    release_ports([port])
    hold_port(port)


def test_another_process_is_given_other_ports_until_it_ends() -> None:
    with program(HOLDER, "20") as (other, theirs):
        for port in theirs:
            with pytest.raises(LocalError):
                hold_port(port)
        other.kill()
        other.wait(10)
        hold_port(theirs[0])
        release_ports(theirs[:1])


def test_asking_for_more_ports_than_there_are_holds_none(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    release_ports([port])
    monkeypatch.setattr("ordersaga.local.ports.FIRST_PORT", port)
    monkeypatch.setattr("ordersaga.local.ports.LAST_PORT", port)
    with pytest.raises(LocalError, match="no 2 ports"):
        free_ports(2)
    hold_port(port)
