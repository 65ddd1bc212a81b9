"""What runners do is tried at the desk of an order service. Where there is none, it is said that it was not tried."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ordersaga.bus.memory import MemoryBus
from ordersaga.cli_conformance import _subject
from ordersaga.settings import Settings
from ordersaga.testing.bare import BareServices, Said
from ordersaga.testing.conformance import (
    CommandDesk,
    HttpDesk,
    Kind,
    MeansFailed,
    NotOffered,
    Report,
    Result,
    examine,
    names,
)
from ordersaga.testing.conformance.outside import RUNNER
from ordersaga.wire.topics import Participant
from tests.testing.bare_in_memory import BareInMemory
from tests.testing.bare_lacks import BARE_LACKS, KILLED_MAY_LACK
from tests.testing.in_memory import TOPICS, InMemory

ORDER = Participant.ORDER
ENVIRONMENT = ["ACT", "ORDER_ID", "RUNNER_ID"]
HEARD, OPEN_ONLY = "says what its runners do", "accepts only what is open"
pytestmark = pytest.mark.timeout(120)


class Desk:
    """Where somebody fails."""

    def __init__(self, service: InMemory | BareInMemory, **fails: Exception) -> None:
        self._service, self._fails = service, fails

    def accept(self, order_id: str) -> None:
        self._do("accept", order_id)

    def give_back(self, order_id: str) -> None:
        self._do("give_back", order_id)

    def _do(self, name: str, order_id: str) -> None:
        if name in self._fails:
            raise self._fails[name]
        getattr(self._service, name)(order_id)


class TellsNobody(BareServices):
    def accept(self, *how: Any) -> list[Said]:
        return [Said(ORDER, b'{"type":"ORDER_UPDATED","payload":{}}') for _ in super().accept(*how)]


class GivesWhatIsCancelled(BareServices):
    def accept(self, order_id: str, *how: Any) -> list[Said]:
        self.orders[order_id].status = "CREATED"
        return super().accept(order_id, *how)


# --- the services that run in production --------------------------------------------------------------------------


@pytest.mark.parametrize("participant", [ORDER, Participant.USER, Participant.PAYMENT, Participant.TIMER])
def test_a_bare_service_has_all_that_a_bare_one_promises(participant: Participant) -> None:
    report = BareInMemory(participant).examined()
    assert report.of(Result.HAS, Kind.BARE) == names(participant, Kind.BARE), told(report)
    lacks, may_lack = BARE_LACKS[participant], KILLED_MAY_LACK.get(participant, set())
    assert lacks <= set(report.of(Result.LACKS)) <= lacks | may_lack, told(report)
    assert report.passed and report.advice()[0].startswith("Run it as bare")


@pytest.mark.parametrize(("play", "lacks"), [(TellsNobody, HEARD), (GivesWhatIsCancelled, OPEN_ONLY)])
def test_a_bare_order_service_that_lacks_it_is_not_advised_at_all(play: type[BareServices], lacks: str) -> None:
    report = BareInMemory(ORDER, play).examined(HEARD, OPEN_ONLY)
    assert report.of(Result.LACKS) == [lacks], told(report)
    assert report.advice() == [f"Do not run sagas against it: it lacks what even a bare one needs: {lacks}."]


# --- means --------------------------------------------------------------------------------------------------------


def test_without_a_desk_nothing_of_it_is_tried_and_nothing_is_passed() -> None:
    report = BareInMemory(ORDER).examined(desk=None)
    assert set(report.of(Result.NOT_TRIED, Kind.BARE)) == {HEARD, OPEN_ONLY}, told(report)
    assert {evidence(report, one) for one in (HEARD, OPEN_ONLY)} == {"no runner can accept an order: there is no desk"}
    assert not report.passed and report.advice()[0].startswith("Nothing can be advised")


def test_a_desk_that_nobody_reaches_refused_nothing() -> None:
    report = examined(accept=MeansFailed("connection refused"))
    assert report.of(Result.NOT_TRIED) == [HEARD, OPEN_ONLY], told(report)
    assert all("connection refused" in evidence(report, one) for one in (HEARD, OPEN_ONLY))


def test_where_giving_back_fails_it_is_not_tried() -> None:
    report = examined(give_back=MeansFailed("503"))
    assert report.of(Result.NOT_TRIED) == [HEARD] and report.of(Result.HAS) == [OPEN_ONLY], told(report)
    assert "503" in evidence(report, HEARD)


def test_where_no_runner_can_give_an_order_back_that_is_said() -> None:
    report = examined(give_back=NotOffered("404"))
    assert report.of(Result.HAS) == [HEARD, OPEN_ONLY], told(report)
    assert "giving back was not tried, since there is no such thing here (404)" in evidence(report, HEARD)


@pytest.mark.parametrize(("status", "error"), [(404, NotOffered), (405, NotOffered), (409, MeansFailed)])
def test_an_endpoint_that_is_not_there_is_told_from_one_that_refuses(status: int, error: type[MeansFailed]) -> None:
    with answering(status) as url, pytest.raises(MeansFailed) as raised:
        HttpDesk(url, ORDER).give_back("order-1")
    assert raised.type is error


def test_a_command_may_play_the_runner(tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f"import os; open({str(said)!r}, 'a').write(' '.join(os.environ[one] for one in {ENVIRONMENT}) + chr(10))"
    desk = CommandDesk(shlex.join([sys.executable, "-c", script]))
    desk.accept("order-1")
    desk.give_back("order-1")
    assert said.read_text("utf-8").splitlines() == [f"accept order-1 {RUNNER}", f"give-back order-1 {RUNNER}"]


@pytest.mark.parametrize(("code", "error"), [(1, MeansFailed), (69, NotOffered)])
def test_a_command_says_by_its_code_what_it_would_not_do(code: int, error: type[MeansFailed]) -> None:
    with pytest.raises(MeansFailed) as raised:
        CommandDesk(shlex.join([sys.executable, "-c", f"raise SystemExit({code})"])).give_back("order-1")
    assert raised.type is error


def test_the_command_goes_before_the_url() -> None:
    bus = MemoryBus(topics=TOPICS.all())
    how: dict[str, str | None] = {"url": "http://127.0.0.1:1", "ledger_command": None, "restart": None}
    told = _subject(ORDER, Settings(), bus, **how, desk_command="play")
    untold = _subject(ORDER, Settings(), bus, **how, desk_command=None)
    assert (told.desk, told.ledger) == (CommandDesk("play"), untold.desk)


def examined(**fails: Exception) -> Report:
    service = InMemory(ORDER)
    try:
        return examine(service.subject(desk=Desk(service, **fails), restart=None), only=[HEARD, OPEN_ONLY])
    finally:
        service.stop()


def evidence(report: Report, name: str) -> str:
    return next(one.evidence for one in report.findings if one.property.name == name)


def told(report: Report) -> str:
    return "\n".join(report.lines())


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Post(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Post)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
