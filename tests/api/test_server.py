"""The server over real sockets: clients that dawdle, crowds, a port that is taken, and a stop in good order."""

import asyncio
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from time import monotonic
from typing import Any

import pytest
from litestar.types import ASGIApp

from ordersaga.delivery.background import Health
from ordersaga.orchestrator.api.app import AppSettings, cors_of, create_app
from ordersaga.orchestrator.api.placing import orders_turned_away, orders_while
from ordersaga.orchestrator.runtime.measuring import REFUSALS
from ordersaga.orchestrator.runtime.service import Report
from ordersaga.orchestrator.store.protocol import SagaPage
from ordersaga.web.gate import STATUS_INSIDE_MAX, Unwanted
from ordersaga.web.gate import Gate as Door
from ordersaga.web.origins import Origins
from ordersaga.web.server import CannotListen, HttpServer, ServerSettings, Together
from tests.api.conftest import SHOP, Stage, stage_of
from tests.api.test_edges import Away
from tests.waiting import a_turn_of_the_loop

SHORT_SECONDS = 0.3
# More than a system keeps for a connection on both sides together (Linux: tcp_rmem and tcp_wmem, 33 and 4 MB at most).
ALL_BUFFERS_BYTES = 64_000_000


class Gate:
    """A health question that is answered when the test says so: a request that takes its time."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self) -> Report:
        self.asked.release()
        assert self.go_on.wait(20)
        return Report(parts=[Health(name="gate", healthy=True)])


class Slow:
    """A store that answers who lists sagas when the test says so."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.go_on = threading.Event()

    def page(self, *_: Any, **__: Any) -> SagaPage:
        self.asked.release()
        assert self.go_on.wait(20)
        return SagaPage(instances=[], next_after=None)


def app_of(health: Callable[[], Report] | None = None, store: Any = None) -> ASGIApp:
    api, _ = stage_of(store or Away(RuntimeError()), [], [])
    object.__setattr__(api, "metrics", lambda: b"saga_started_total 7.0\n")
    if health is not None:
        object.__setattr__(api, "health", health)
    return create_app(api, AppSettings(cors_origins=[SHOP]))


@contextmanager
def serving(app: ASGIApp, *, unwanted: Unwanted = lambda scope: None, **settings: Any) -> Iterator[HttpServer]:
    origins = Origins(cors_of([SHOP]))
    server = HttpServer(app, ServerSettings(port=0, **settings), unwanted=unwanted, origins=origins)
    server.start()
    try:
        yield server
    finally:
        server.stop(5)


def get(server: HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


@contextmanager
def connected(server: HttpServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        yield client


def until_closed(client: socket.socket) -> bytes:
    """Everything that comes until the server closes."""
    found = b""
    while data := client.recv(4096):
        found += data
    return found


def test_it_listens_when_start_returns_and_says_that_it_is_well() -> None:
    with serving(app_of()) as server:
        assert get(server, "/livez")[0] == 200
        assert server.health().healthy
    assert not server.health().healthy


def test_a_port_that_is_taken_is_said_by_start() -> None:
    with serving(app_of()) as server:
        another = HttpServer(app_of(), ServerSettings(port=server.port))
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1 port {server.port}"):
            another.start()
        assert another.stop(1)


def test_stop_may_come_first_and_twice() -> None:
    server = HttpServer(app_of(), ServerSettings(port=0))
    assert server.stop(1)
    server.start()
    assert server.stop(1)


@pytest.mark.parametrize(
    "sent", [b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"POST /orders HTTP/1.1\r\n"]
)
def test_a_client_that_never_ends_its_headers_is_cut_off(sent: bytes) -> None:
    with serving(app_of(), read_timeout_seconds=SHORT_SECONDS) as server, connected(server) as client:
        client.sendall(sent)
        assert until_closed(client).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off_all_the_same() -> None:
    with serving(app_of(), read_timeout_seconds=SHORT_SECONDS) as server, connected(server) as client:
        begun = monotonic()
        client.settimeout(0.05)
        closed = False
        while not closed and monotonic() - begun < 5:
            try:
                client.sendall(b"G")
                closed = client.recv(100) != b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed
        assert monotonic() - begun < 3


def test_a_client_that_never_ends_its_body_is_cut_off() -> None:
    with serving(app_of(), read_timeout_seconds=SHORT_SECONDS) as server, connected(server) as client:
        client.sendall(
            b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert b" 202 " not in until_closed(client)


def test_a_client_that_says_nothing_is_left_without_a_word() -> None:
    with serving(app_of(), read_timeout_seconds=SHORT_SECONDS) as server, connected(server) as client:
        assert until_closed(client) == b""


def test_a_client_that_keeps_its_connection_may_pause_between_requests() -> None:
    with serving(app_of(), read_timeout_seconds=SHORT_SECONDS) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
        for _ in range(2):
            connection.request("GET", "/livez")
            assert connection.getresponse().read()
            closed, _, _ = select.select([connection.sock], [], [], 2 * SHORT_SECONDS)
            assert not closed
        connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not HTTP at all\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 30_000 + b"\r\n\r\n", b"431"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_is_refused(sent: bytes, status: bytes) -> None:
    with serving(app_of()) as server, connected(server) as client:
        client.sendall(sent)
        assert until_closed(client).startswith(b"HTTP/1.1 " + status)
        assert get(server, "/livez")[0] == 200


def test_many_small_headers_are_refused_as_one_large_one_is() -> None:
    with serving(app_of()) as server, connected(server) as client:
        many = b"".join(b"X-%d: y\r\n" % number for number in range(3_000))
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n" + many)
        assert until_closed(client).startswith(b"HTTP/1.1 431 ")
        assert get(server, "/livez")[0] == 200


def test_requests_that_come_together_are_answered_in_turn() -> None:
    with serving(app_of()) as server, connected(server) as client:
        one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        client.sendall(one * 20 + last)
        assert until_closed(client).count(b"HTTP/1.1 200 OK") == 21


def test_a_client_that_pipelines_for_ever_and_reads_nothing_holds_up_nobody() -> None:
    with serving(app_of(), read_timeout_seconds=SHORT_SECONDS) as server, connected(server) as client:
        client.setblocking(False)
        many, sent, end = b"GET /schema/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200, 0, monotonic() + 30
        while sent < ALL_BUFFERS_BYTES and monotonic() < end:
            _, writable, _ = select.select([], [client], [], SHORT_SECONDS)
            if not writable:
                break
            try:
                sent += client.send(many)
            except OSError:
                break
        assert sent < ALL_BUFFERS_BYTES and monotonic() < end, "it is not read from without end"
        assert get(server, "/livez")[0] == 200


def test_headers_that_go_on_for_ever_are_refused_without_being_kept() -> None:
    with serving(app_of()) as server, connected(server) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Large: " + b"x" * 17_000)
        assert until_closed(client).startswith(b"HTTP/1.1 431 ")


def test_a_body_that_goes_on_for_ever_is_refused_without_being_kept() -> None:
    with serving(app_of()) as server, connected(server) as client:
        client.sendall(
            b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        client.settimeout(10)
        try:
            for _ in range(200):
                client.sendall(chunk)
        except OSError:
            return
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


@contextmanager
def crowded() -> Iterator[tuple[HttpServer, Slow, list[Future[tuple[int, dict[str, str]]]]]]:
    """As many inside as are let in, all of them at a slow database: two at work and one who waits."""
    slow = Slow()
    with (
        serving(app_of(store=slow), requests_at_once_max=2, requests_waiting_max=1) as server,
        ThreadPoolExecutor(3) as crowd,
    ):
        inside = [crowd.submit(get, server, "/sagas") for _ in range(3)]
        try:
            for _ in range(2):
                assert slow.asked.acquire(timeout=10)
            _until_turned_away(server)
            yield server, slow, inside
        finally:
            slow.go_on.set()


def test_a_crowd_is_told_to_come_back_while_those_inside_are_served() -> None:
    with crowded() as (server, slow, inside):
        status, headers = get(server, "/nothing")
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert int(headers["retry-after"]) > 0
        assert get(server, "/livez")[0] == 200, "whether the process lives is always answered"
        slow.go_on.set()
        assert [one.result()[0] for one in inside] == [200, 200, 200]
        assert get(server, "/nothing")[0] == 404


@pytest.mark.parametrize("path", ["/readyz/api", "/readyz", "/health", "/metrics"])
def test_a_probe_and_a_scrape_are_answered_in_a_crowd(path: str) -> None:
    """They tell of it: without them a process that is only busy is taken out, and the alert of it resolves."""
    with crowded() as (server, _, _):
        assert get(server, path)[0] == 200


def test_those_who_ask_how_it_is_have_a_bound_of_their_own_and_crowd_out_nobody_else() -> None:
    async def scene() -> tuple[int, set[int]]:
        go_on = asyncio.Event()
        inside: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            inside.append(scope["path"])
            await go_on.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        door = Door(app, requests_max=1, headers_bytes_max=1000)

        async def ask(path: str) -> int:
            told: list[Any] = []

            async def send(message: Any) -> None:
                told.append(message)

            scope: Any = {"type": "http", "method": "GET", "path": path, "headers": []}
            await door(scope, None, send)  # type: ignore[arg-type]
            return int(told[0]["status"])

        asking = [asyncio.create_task(ask("/readyz")) for _ in range(STATUS_INSIDE_MAX)]
        await a_turn_of_the_loop()
        one_too_many = await ask("/metrics")
        asking += [asyncio.create_task(ask(path)) for path in ("/orders", "/livez")]
        await a_turn_of_the_loop()
        assert inside[-2:] == ["/orders", "/livez"]
        go_on.set()
        return one_too_many, set(await asyncio.gather(*asking))

    assert asyncio.run(scene()) == (503, {200})


def test_a_front_end_of_a_known_origin_understands_that_it_is_to_come_back() -> None:
    with crowded() as (server, _, _):
        status, headers = get(server, "/orders", Origin=SHOP)
        assert (status, headers["access-control-allow-origin"], headers["vary"]) == (503, SHOP, "Origin")
        assert "retry-after" in headers["access-control-expose-headers"].lower()
        status, headers = get(server, "/orders", Origin="https://evil.example")
        assert status == 503 and "access-control-allow-origin" not in headers


def test_a_browser_that_asks_whether_it_may_ask_is_answered_in_a_crowd() -> None:
    with crowded() as (server, _, _):
        wish = {"Origin": SHOP, "Access_Control_Request_Method": "POST"}
        status, headers = get(server, "/orders", "OPTIONS", **wish)
        assert (status, headers["access-control-allow-origin"]) == (204, SHOP)
        assert get(server, "/orders", "OPTIONS", **wish | {"Origin": "https://evil.example"})[0] == 503
        assert get(server, "/orders", "OPTIONS")[0] == 503


def test_what_the_gate_and_the_application_tell_a_browser_is_the_same() -> None:
    with serving(app_of(), unwanted=orders_while(lambda: True)) as server:
        at_the_gate, inside = (get(server, path, "POST", Origin=SHOP) for path in ("/orders", "/nothing"))
        assert (at_the_gate[0], inside[0]) == (503, 404)
        for name in ("access-control-allow-origin", "access-control-expose-headers", "vary"):
            assert at_the_gate[1][name] == inside[1][name]


def test_a_connection_too_many_is_told_to_come_back_and_those_inside_are_served() -> None:
    with serving(app_of(), connections_max=2) as server:
        inside = [HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(2)]
        for connection in inside:
            assert asked(connection, "/livez") == 200
        with connected(server) as client:
            client.sendall(b"GET /sagas HTTP/1.1\r\nHost: x\r\nOrigin: https://shop.example\r\n\r\n")
            answer = until_closed(client).lower()
        assert answer.startswith(b"http/1.1 503 ") and b"\r\nretry-after: " in answer
        assert b"application/problem+json" in answer and b"\r\naccess-control-allow-origin: " in answer
        for path in ("/livez", "/readyz/api", "/metrics"):
            assert get(server, path)[0] == 200, "how the process is, is always answered"
        for connection in inside:
            assert asked(connection, "/nothing") == 404
            connection.close()


def test_twice_too_many_connections_are_closed_at_once() -> None:
    with serving(app_of(), connections_max=1) as server, connected(server) as first, connected(server) as second:
        for client in (first, second):
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        with connected(server) as third:
            assert until_closed(third) == b""


def asked(connection: HTTPConnection, path: str) -> int:
    """On a connection that stays."""
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_orders_that_are_not_wanted_now_are_turned_away_at_the_door_and_the_connection_stays() -> None:
    behind = [True]
    server = HttpServer(app_of(), ServerSettings(port=0), unwanted=orders_while(lambda: behind[0]))
    server.start()
    try:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        for _ in range(2):
            connection.request("POST", "/orders", b"whatever", {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (503, None)
            assert int(answer.getheader("Retry-After") or 0) > 0
            assert b'"urn:ordersaga:problem:too-busy"' in answer.read()
        assert asked(connection, "/livez") == 200, "everything else is answered"
        behind[0] = False
        connection.request("POST", "/orders", b"whatever", {"Content-Type": "application/json"})
        assert connection.getresponse().status == 400
        connection.close()
    finally:
        server.stop(5)


def test_orders_that_are_turned_away_at_the_door_are_told_of_by_kind_and_nothing_else_is() -> None:
    told: list[str] = []
    behind = [True]
    server = HttpServer(
        app_of(),
        ServerSettings(port=0, connections_max=2),
        unwanted=orders_while(lambda: behind[0]),
        turned_away=orders_turned_away(told.append),
    )
    server.start()
    try:
        inside, other = [HTTPConnection("127.0.0.1", server.port, timeout=20) for _ in range(2)]
        assert asked(other, "/livez") == 200
        for method, path in (("POST", "/orders"), ("GET", "/livez"), ("POST", "/orders")):
            inside.request(method, path)
            inside.getresponse().read()
        behind[0] = False
        for method in ("POST", "GET"):
            with connected(server) as one_too_many:
                one_too_many.sendall(f"{method} /orders HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert until_closed(one_too_many).startswith(b"HTTP/1.1 503 ")
        inside.request("POST", "/orders", b"{", {"Content-Type": "application/json"})
        assert inside.getresponse().status == 400
        inside.close()
        other.close()
    finally:
        server.stop(5)
    assert told == ["too-busy", "too-busy", "busy"]
    assert set(told) <= set(REFUSALS), "each is there from the beginning, at 0"


def _until_turned_away(server: HttpServer) -> tuple[int, dict[str, str]]:
    """The third one inside waits for a thread, which nobody can see: so ask for what is not there until it is in."""
    end = monotonic() + 10
    while monotonic() < end:
        status, headers = get(server, "/nothing")
        if status == 503:
            return status, headers
    raise AssertionError("nobody was turned away")


def test_a_stop_answers_what_is_in_hand_and_takes_no_more() -> None:
    gate = Gate()
    with serving(app_of(gate)) as server, ThreadPoolExecutor(2) as others:
        answer = others.submit(get, server, "/readyz")
        assert gate.asked.acquire(timeout=10)
        stopped = others.submit(server.stop, 10)
        _until_refused(server.port)
        gate.go_on.set()
        assert answer.result(10)[0] == 200
        assert stopped.result(10)


def _until_refused(port: int) -> None:
    end = monotonic() + 10
    while monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
    raise AssertionError("it still takes connections")


def test_a_stop_is_quick_though_clients_keep_their_connections() -> None:
    with serving(app_of()) as server, connected(server) as idle, connected(server) as silent:
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in idle.recv(4096)
        silent.sendall(b"GET /li")
        begun = monotonic()
        assert server.stop(5)
        assert monotonic() - begun < 2


def test_a_stop_does_not_wait_for_a_request_that_hangs() -> None:
    gate = Gate()
    with serving(app_of(gate)) as server, ThreadPoolExecutor(1) as others:
        others.submit(_ignoring_errors, server)
        assert gate.asked.acquire(timeout=10)
        begun = monotonic()
        assert server.stop(2)
        assert monotonic() - begun < 2.5
        gate.go_on.set()


def _ignoring_errors(server: HttpServer) -> None:
    try:
        get(server, "/readyz")
    except OSError:
        return


def test_orders_are_taken_over_a_socket(stage: Stage) -> None:
    with serving(create_app(stage.api, AppSettings())) as server:
        assert get(server, "/sagas")[0] == 200


def test_the_head_of_an_answer_and_its_body_are_sent_as_one() -> None:
    async def scene() -> list[bytes]:
        sent: list[bytes] = []

        class Wire(asyncio.Transport):
            def write(self, data: Any) -> None:
                sent.append(bytes(data))

            def close(self) -> None:
                sent.append(b"closed")

        together = Together(Wire(), asyncio.get_running_loop())
        together.write(b"head")
        together.write(b"body")
        await a_turn_of_the_loop()
        together.write(b"last words")
        together.close()
        await a_turn_of_the_loop()
        return sent

    assert asyncio.run(scene()) == [b"headbody", b"last words", b"closed"]
