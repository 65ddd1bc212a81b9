"""Serves the application over HTTP, in the background, with the same start, stop and health as every other part.

The promise: a port that is taken is said at once, by `start`; a client that dawdles over its request is cut off; a stop
answers what is in hand and then closes, also where a client keeps its connection. The non-promise: TLS, which is the
work of what stands in front.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any, ParamSpec, TypeVar

import structlog
import uvicorn
from litestar.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ordersaga.delivery.background import Health
from ordersaga.web.gate import Gate, TurnedAway, Unwanted, asks_how_it_is
from ordersaga.web.origins import Origins

P = ParamSpec("P")
T = TypeVar("T")
_log = structlog.get_logger(__name__)
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_HEADERS_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_BACKLOG = 2048
STATUS_THREADS = 4
"""For those who ask how the process is."""
PARTS_SECONDS = 3.0
"""What the other parts of a process need to end: to finish a batch, hand over what was written, leave the group."""


class CannotListen(Exception):
    """The address cannot be listened on: the message says which, and why."""

    retriable = False


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes a free one: see `HttpServer.port`."""
    connections_max: int = 500
    requests_at_once_max: int = 8
    requests_waiting_max: int = 200
    read_timeout_seconds: float = 10.0
    idle_timeout_seconds: float = 65.0
    headers_bytes_max: int = 16_384


class HttpServer:
    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        *,
        unwanted: Unwanted = lambda scope: None,
        turned_away: TurnedAway = lambda scope, problem: None,
        origins: Origins | None = None,
    ) -> None:
        """`unwanted`, `turned_away` and `origins`: see `web.gate`."""
        self._settings = settings
        self._listening: socket.socket | None = None
        self._thread: Thread | None = None
        self._stopping = False
        self._last_error = ""
        self._work = Threads(settings.requests_at_once_max)
        inside_max = settings.requests_at_once_max + settings.requests_waiting_max
        gate = Gate(
            app,
            requests_max=inside_max,
            headers_bytes_max=settings.headers_bytes_max,
            unwanted=unwanted,
            turned_away=turned_away,
            origins=origins,
        )
        self._server = uvicorn.Server(_config(gate, settings))

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        assert self._listening is not None, "not started"
        return int(self._listening.getsockname()[1])

    def start(self) -> None:
        """Listens when this returns. Raises `CannotListen`."""
        if self._stopping:
            return
        self._listening = _listen(self._settings.host, self._settings.port)
        self._thread = Thread(target=self._run, name="http", daemon=True)
        self._thread.start()
        _log.info("http.listening", host=self._settings.host, port=self.port)

    def stop(self, timeout_seconds: float) -> bool:
        """Take no more requests, answer those in hand, close. What hangs is cut off a second before the time is up."""
        self._stopping = True
        self._server.config.timeout_graceful_shutdown = max(1, int(timeout_seconds - 1))
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        self._work.shutdown(wait=False, cancel_futures=True)
        return self._thread is None or not self._thread.is_alive()

    def health(self) -> Health:
        alive = self._thread is not None and self._thread.is_alive()
        return Health(name="http", healthy=alive, detail="" if alive else self._last_error or "not running")

    def _run(self) -> None:
        """The one place with an event loop, since that is how uvicorn works; requests are worked off on threads."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_default_executor(self._work)
        try:
            loop.run_until_complete(self._server.serve(sockets=[self._listening] if self._listening else None))
            cut_off = asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True)
            loop.run_until_complete(cut_off)
        except Exception as error:  # noqa: BLE001 (the thread's last word: health tells it)
            self._last_error = f"{type(error).__name__}: {error}"
            _log.exception("http.failed")
        finally:
            loop.close()


class Threads(ThreadPoolExecutor):
    """Threads that requests are worked off on. Who asks how the process is has some apart, that no slow query holds."""

    def __init__(self, most: int) -> None:
        super().__init__(most, thread_name_prefix="http")
        self._apart = ThreadPoolExecutor(STATUS_THREADS, thread_name_prefix="http-status")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Called by the event loop, in the context of the request."""
        if asks_how_it_is.get():
            return self._apart.submit(fn, *args, **kwargs)
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._apart.shutdown(wait, cancel_futures=cancel_futures)
        super().shutdown(wait, cancel_futures=cancel_futures)


class Together:
    """A transport that sends what is written in one turn of the loop as one: uvicorn writes the head of an answer and
    its body apart, which would be two system calls and two packets.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._written:
            written, self._written = self._written, []
            self._transport.write(b"".join(written))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class PromptProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with bounds on what a client may take for its request: the time for all of it, and the bytes
    of its headers; and on connections. uvicorn's own bound on those turns away everybody, those inside too, and does
    not say when to come back.
    """

    def __init__(
        self,
        *args: Any,
        read_timeout_seconds: float,
        headers_bytes_max: int,
        connections_max: int,
        crowded: ASGIApp,
        **kwargs: Any,
    ) -> None:
        """`crowded` answers on a connection that is one too many."""
        super().__init__(*args, **kwargs)
        self._read_timeout_seconds = read_timeout_seconds
        self._headers_bytes_max = headers_bytes_max
        self._connections_max = connections_max
        self._crowded: Any = crowded
        self._head_bytes: int | None = 0
        """Received of a head that is not complete; None while there is none."""
        self._heard = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Together(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > 2 * self._connections_max:
            self.transport.close()
            return
        if len(self.connections) > self._connections_max:
            self.app = self._crowded
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        self._heard = True
        if self._answers_nothing():
            self._expect_request()
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > self._headers_bytes_max:
            self._refuse(_HEADERS_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._head_bytes = self._head_bytes or 0
        self._expect_request()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._forget_deadline()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    def _answers_nothing(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _expect_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._read_timeout_seconds, self._cut_off)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut_off(self) -> None:
        self._deadline = None
        self._refuse(_TOO_SLOW if self._heard else b"")

    def _refuse(self, answer: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._answers_nothing() or not self.cycle.response_started:
            self.transport.write(answer)
        self.transport.close()


def seconds_to_answer(timeout_seconds: float) -> float:
    """Of the time that a process has to stop, what is for requests in hand: all but what its other parts need. Orders
    among them wait for their transaction, and their clients must not be told to order again.
    """
    return max(timeout_seconds / 2, timeout_seconds - PARTS_SECONDS)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise CannotListen(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    listening.setblocking(False)
    return listening


def _config(gate: Gate, settings: ServerSettings) -> uvicorn.Config:
    protocol: Any = partial(
        PromptProtocol,
        read_timeout_seconds=settings.read_timeout_seconds,
        headers_bytes_max=settings.headers_bytes_max,
        connections_max=settings.connections_max,
        crowded=gate.crowded,
    )
    return uvicorn.Config(
        gate,
        http=protocol,
        ws="none",
        loop="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(settings.idle_timeout_seconds),
    )
