"""Whatever bytes a client sends to the port: an answer that is no server's error, or a closed connection; and the next
client is answered as before.
"""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.web.server import HttpServer
from tests.api.conftest import Stage, memory_stage, order  # noqa: F401 (a fixture)
from tests.api.test_edges import NOBODY
from tests.api.test_server import get, serving
from tests.fuzz.counting import LITTLE, MUCH, tell, tried

METHODS = st.sampled_from([*[b"GET", b"POST"] * 5, *b"PUT HEAD OPTIONS TRACE CONNECT get".split(), b"\x00", b""])
KNOWN = [b"/orders", b"/sagas", b"/sagas/" + NOBODY.encode(), b"/stats", b"/livez", b"/schema", b"/dead-letters/1"]
ODD = [b"/", b"*", b"//", b"/../..", b"/sagas/%00", b"/sagas/%ff%fe", b"/sagas?status=%00", b"/sagas?after=%ed%a0%80"]
PATHS = st.sampled_from([*KNOWN, *ODD]) | st.binary(max_size=20).map(lambda found: b"/" + found)
VERSIONS = st.sampled_from([*[b"HTTP/1.1"] * 9, b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
NAMES = [
    b"Content-Type",
    b"Authorization",
    b"Idempotency-Key",
    b"traceparent",
    b"Origin",
    b"Expect",
    b"Cookie",
    b"Host",
]
CONTENTS = [b"x", b"application/json", b"Bearer x", b"\xff", b"", b"100-continue", b"a" * 9_000]
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(NAMES) | st.binary(min_size=1, max_size=6),
        st.sampled_from(CONTENTS) | st.binary(max_size=10),
    ),
    max_size=2,
)
LENGTHS = st.sampled_from([*[None] * 8, b"0", b"-1", b"5", b"99999999999", b"x", b"1, 2", b"chunked"])
BODIES = st.sampled_from(
    [b"", b"{}", b"[]", b"null", b'{"customer_id":"\\ud800"}', b"[" * 5_000, b"5\r\nhello\r\n0\r\n\r\n"]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=120))
    body, length = draw(BODIES | st.binary(max_size=40)), draw(LENGTHS)
    lines = [b" ".join([draw(METHODS), draw(PATHS), draw(VERSIONS)])]
    lines += [name + b": " + value for name, value in draw(HEADERS)]
    if length == b"chunked":
        lines.append(b"Transfer-Encoding: chunked")
    elif length is not None or draw(st.booleans()):
        lines.append(b"Content-Length: " + (length or str(len(body)).encode()))
    if draw(st.integers(0, 9)):
        lines.append(b"Host: shop")
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.fixture
def server(memory_stage: Stage) -> Iterator[HttpServer]:  # noqa: F811
    app = create_app(memory_stage.api, AppSettings())
    with serving(app, read_timeout_seconds=0.3, idle_timeout_seconds=0.3) as found:
        yield found


@pytest.mark.parametrize("cases", [LITTLE, pytest.param(MUCH, marks=pytest.mark.slow)])
@pytest.mark.timeout(300)
def test_whatever_bytes_come_the_next_client_is_answered(server: HttpServer, cases: int) -> None:
    seen: Counter[str] = Counter()

    @tried(cases)
    @given(sent=requests())
    def ask(sent: bytes) -> None:
        answered = _answered(server, sent)
        status = answered.split(b" ", 2)[1].decode("latin-1") if answered.startswith(b"HTTP/1") else "closed"
        assert not status.startswith("5"), answered[:300]
        seen[status] += 1

    ask()
    tell("HTTP at the socket", seen)
    assert get(server, "/livez")[0] == 200
    assert seen["400"]


def test_a_sound_order_is_taken_among_them(memory_stage: Stage) -> None:  # noqa: F811
    assert memory_stage.client.post("/orders", json=order()).status_code == 202


def _answered(server: HttpServer, sent: bytes) -> bytes:
    """The first line of what comes, or nothing."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client, suppress(ConnectionError):
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        return client.recv(400)
    return b""
