"""A TCP proxy whose network can be broken.

All proxies of a process share one thread with an event loop; every method may be called from any thread, and returns
when the fault is there. What a network does, a proxy does: bytes of a connection come in order or not at all. A
connection of which bytes were swallowed is cut when the fault ends.
"""

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from ordersaga.local.ports import free_port

BUFFER_BYTES_MAX = 4_000_000


class Fault(StrEnum):
    NONE = "none"
    REFUSE = "refuse"
    """Nobody listens, and connections are cut."""
    BLACKHOLE = "blackhole"
    """Nothing passes. Connections stay, and what was on its way arrives when the fault ends."""
    DROP_ANSWERS = "drop answers"
    """The server hears, the client does not."""
    DELAY = "delay"
    """Everything takes `delay_seconds` more, each way."""


class FaultProxy:
    def __init__(self, target_port: int, *, port: int = 0, name: str = "") -> None:
        """`port`: where to listen on 127.0.0.1; 0 takes one that is free."""
        self.name = name
        self.target_port = target_port
        self.port = port or free_port()
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self.fault = Fault.NONE
        self.delay_seconds = 0.0
        self.connections: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = _LOOP.get()
        self._call(self._listen)

    def break_(self, fault: Fault, *, delay_seconds: float = 0.0) -> None:
        self._call(lambda: self._set(fault, delay_seconds))

    def heal(self) -> None:
        self.break_(Fault.NONE)

    def cut(self) -> None:
        """Reset every connection, once."""
        self._call(self._cut)

    def close(self) -> None:
        self._call(self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- on the loop's thread -------------------------------------------------------------------------

    def _call(self, what: Callable[[], Any]) -> None:
        async def run() -> None:
            result = what()
            if asyncio.iscoroutine(result):
                await result

        done: Future[None] = asyncio.run_coroutine_threadsafe(run(), self._loop)
        done.result(10.0)

    async def _listen(self) -> None:
        if self._socket.fileno() < 0:
            self._socket = socket.create_server(("127.0.0.1", self.port))
        self._server = await self._loop.create_server(lambda: _Side(_Link(self), answers=False), sock=self._socket)

    async def _set(self, fault: Fault, delay_seconds: float) -> None:
        before, self.fault, self.delay_seconds = self.fault, fault, delay_seconds
        if before is Fault.DROP_ANSWERS:
            self._cut()
        if before is Fault.REFUSE and fault is not Fault.REFUSE:
            await self._listen()
        if fault is Fault.REFUSE and before is not Fault.REFUSE:
            self._deaf()
            self._cut()
        for link in list(self.connections):
            link.moved()

    def _deaf(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _cut(self) -> None:
        for link in list(self.connections):
            link.end(reset=True)

    def _close(self) -> None:
        self._deaf()
        self._cut()


class _Link:
    """One connection through the proxy: the client's side and the server's."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.near: _Side | None = None
        self.far: _Side | None = None
        self.ended = False

    def moved(self) -> None:
        for side in (self.near, self.far):
            if side is not None:
                side.flush()

    def end(self, *, reset: bool = False) -> None:
        self.ended = True
        self.proxy.connections.discard(self)
        for side in (self.near, self.far):
            if side is not None and side.transport is not None:
                if reset:
                    side.reset()
                else:
                    side.transport.close()


class _Side(asyncio.Protocol):
    """What comes from one end is written to the other, when its time has come."""

    def __init__(self, link: _Link, *, answers: bool) -> None:
        self._link = link
        self._answers = answers
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    @property
    def _other(self) -> "_Side | None":
        return self._link.near if self._answers else self._link.far

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._answers:
            self._link.far = self
            assert self._link.near
            self._link.near.flush()
        else:
            self._link.near = self
            self._link.proxy.connections.add(self._link)
            asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop, port = asyncio.get_running_loop(), self._link.proxy.target_port
        try:
            await loop.create_connection(lambda: _Side(self._link, answers=True), "127.0.0.1", port)
        except OSError:
            self._link.end(reset=True)
        if self._link.ended:
            self._link.end(reset=True)

    def data_received(self, data: bytes) -> None:
        proxy = self._link.proxy
        if proxy.fault is Fault.DROP_ANSWERS and self._answers:
            return
        due = asyncio.get_running_loop().time() + (proxy.delay_seconds if proxy.fault is Fault.DELAY else 0.0)
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, data))
        self._waiting_bytes += len(data)
        self.flush()

    def flush(self) -> None:
        if self.transport is None:
            return
        other, proxy, now = self._other, self._link.proxy, asyncio.get_running_loop().time()
        passes = other is not None and other.transport is not None and proxy.fault is not Fault.BLACKHOLE
        while passes and self._waiting and self._waiting[0][0] <= now:
            _, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            assert other and other.transport
            other.transport.write(data)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if passes and self._waiting:
            self._timer = asyncio.get_running_loop().call_at(self._waiting[0][0], self.flush)
        self._read_on(self._waiting_bytes < BUFFER_BYTES_MAX)

    def _read_on(self, reads: bool) -> None:
        assert self.transport
        if not self.transport.is_closing() and reads != self.transport.is_reading():
            (self.transport.resume_reading if reads else self.transport.pause_reading)()

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other._read_on(False)

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other._read_on(True)

    def reset(self) -> None:
        assert self.transport
        with_socket: socket.socket | None = self.transport.get_extra_info("socket")
        if with_socket is not None and with_socket.fileno() >= 0:
            with_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._link.ended:
            self._link.end()


class _Loop:
    """One event loop on a thread that lasts as long as the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True).start()
            return self._loop


_LOOP = _Loop()
