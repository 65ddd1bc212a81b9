"""All of it, one check after the other, each told as soon as it is known.

First what a person on call looks at (`runtime.doctor`), then each broker by its address, the API and the token, then
the order's way, then the statistics. An order is placed only where nothing that it needs has failed: `NEEDED`.
"""

import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

from ordersaga.bus.protocol import Bus, BusError
from ordersaga.delivery.outbox_protocol import Outbox, OutboxUnavailable
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.runtime.doctor import Doctor
from ordersaga.orchestrator.runtime.finding import Finding
from ordersaga.orchestrator.runtime.statistics import DETAILS, Totals, tell
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.orchestrator.store.protocol import StoreError
from ordersaga.orchestrator.store.statistics_protocol import By, Statistics
from ordersaga.smoke.asking import Service, Unanswered
from ordersaga.smoke.check import Check, Result, failed, not_tried, noticed, passed
from ordersaga.smoke.order import Saga, Trip, look_of
from ordersaga.wire.topics import Topics

NOTICED_ONLY = frozenset(
    {"clocks", "sagas", "participants", "lag", "brokers", "partitions", "database TLS", "kafka TLS"}
)
"""What the doctor calls wrong and orders go through all the same."""
NEEDED = frozenset(
    {
        "database", "schema", "writing", "rights", "tables", "kafka", "kafka rights", "topics", "worker", "new orders",
        "api", "token",
    }
)  # fmt: skip
ADDRESS_SECONDS, COUNTED_SECONDS, FOLDED_SECONDS, EVERY_SECONDS = 3.0, 5.0, 20.0, 0.25
"""Statistics are folded every five seconds."""
PUBLISHED_SECONDS = 5.0
JOINED_SECONDS = 15.0
"""A group lets a new member in after three seconds, or when one that died is given up."""
PARTICIPANTS = {step.name: step.do.to for step in CREATE_ORDER.steps}


@dataclass(kw_only=True)
class Smoke:
    doctor: Doctor
    bus: Bus
    outbox: Outbox
    statistics: Statistics
    topics: Topics
    group: str
    addresses: Sequence[str]
    """Of brokers, as they are set: host:port."""
    api: Service
    payments: Service | None
    customer_id: str
    patience_seconds: float
    orders: bool = True
    """Whether an order is placed."""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    trip: Trip | None = None
    """Of the order, once one is to be placed."""

    def checks(self) -> Generator[Check, None, None]:
        """Closing it takes back what was begun. Raises `LeftOpen` where it is interrupted and that cannot be done."""
        broken = []
        for one in self._parts():
            yield one
            if one.result is Result.FAILED and one.what in NEEDED:
                broken.append(one.what)
        if not self.orders:
            yield not_tried("order", "only a look was asked for")
        elif broken:
            yield not_tried("order", f"none is placed, since this failed: {', '.join(broken)}")
        else:
            yield from self._with_an_order()

    @property
    def left(self) -> str:
        """What an interrupted run leaves, in words, where it could take back what it had begun."""
        return self.trip.left if self.trip else "no order was placed"

    def _parts(self) -> Iterator[Check]:
        for finding in self.doctor.findings():
            yield _told(self._joined(finding) if finding.what == "worker" and not finding.well else finding)
            if finding.what == "kafka":
                yield from self._addresses()
        yield from self._api()

    def _joined(self, found: Finding) -> Finding:
        """A process that has just been started is ready before the group has let it in."""

        def joined() -> bool:
            nonlocal found
            found = self.doctor.worker()
            return found.well

        self._wait(joined, min(JOINED_SECONDS, self.patience_seconds))
        return found

    def _addresses(self) -> Iterator[Check]:
        """Each by itself: the client is content with one that answers."""
        silent = {one: why for one in self.addresses if (why := closed(one))}
        if silent:
            said = "; ".join(f"{one}: {why}" for one, why in silent.items())
            look = "start that broker, or see its log; or take it out of KAFKA_BOOTSTRAP_SERVERS"
            yield failed("addresses", f"{len(silent)} of {len(self.addresses)} do not answer: {said}", look)
        else:
            yield passed("addresses", f"{', '.join(self.addresses)}: each listens")

    def _api(self) -> Iterator[Check]:
        try:
            ready = self.api.anonymous().ask("GET", "/readyz")
            parts = ready.body["parts"] if isinstance(ready.body, dict) and "parts" in ready.body else None
        except Unanswered as error:
            look = "whether the API runs there: ORDERSAGA_HTTP_HOST and _PORT of it, ORDERSAGA_SMOKE_API_URL here"
            yield failed("api", str(error), look)
            return
        if parts is None:
            yield failed("api", f"{self.api.url} answers {ready.detail}, but not as ordersaga does", look_of(ready))
            return
        # Why is told to who may read only, where there are tokens.
        unwell = [": ".join(filter(None, (one["name"], one["detail"]))) for one in parts if not one["healthy"]]
        if unwell:
            look = "the runbook, under the parts named; `docs/runbook.md`"
            yield failed("api", f"{self.api.url} is not ready: {'; '.join(unwell)}", look)
        else:
            yield passed("api", f"{self.api.url} is ready, version {ready.body['version']}")
        yield self._may_order()

    def _may_order(self) -> Check:
        """Asked with an order that cannot be taken: who may not order is told so before it is read."""
        try:
            answer = self.api.ask("POST", "/orders", {})
        except Unanswered as error:
            return failed("token", str(error), "the API's log")
        if answer.status == 400:
            return passed("token", "whoever asks like this may order")
        return failed("token", f"asked for an order, it answers {answer.detail}", look_of(answer))

    def _with_an_order(self) -> Iterator[Check]:
        self.trip = trip = Trip(
            api=self.api,
            payments=self.payments,
            why_it_waits=self._why_it_waits,
            customer_id=self.customer_id,
            patience_seconds=self.patience_seconds,
        )
        try:
            before = self._totals()
        except StoreError as error:
            yield failed("statistics", str(error), "the database's log")
            return
        yield from trip.checks()
        if not trip.completed or trip.saga.get("status") != "CANCELLED":
            yield not_tried("statistics", "the order was not completed and cancelled, so nothing has to be counted")
            return
        ended = monotonic()
        yield self._counted(before)
        yield self._folded(ended)

    def _counted(self, before: Totals) -> Check:
        """Others order meanwhile, so it is at least one more of each."""
        now = before

        def one_more() -> bool:
            nonlocal now
            now = self._totals()
            return not _missing(before, now)

        self._wait(one_more, COUNTED_SECONDS)
        missing = _missing(before, now)
        if missing:
            look = "`ordersaga stats`, and whether this database is the one that the API works on"
            return failed("statistics", f"not counted: {', '.join(missing)}", look)
        ended = now.ended
        figures = f"{now.started} begun, {ended[Status.COMPLETED.value]} completed, {ended[Status.CANCELLED.value]}"
        return passed("statistics", f"both outcomes are counted: {figures} cancelled in these hours")

    def _folded(self, ended: float) -> Check:
        """All that was appended before the order had ended is in its hours."""
        folded = self._wait(lambda: self.statistics.unfolded().oldest_seconds < monotonic() - ended, FOLDED_SECONDS)
        if folded:
            return passed("folding", f"in their hours after {monotonic() - ended:.1f} s")
        found = self.statistics.unfolded()
        said = f"{found.sums} sums wait to be put into their hours, the oldest for {found.oldest_seconds:.0f} s"
        return failed("folding", said, "start a process with `deadlines`, which does that; its log, for `statistics`")

    def _totals(self) -> Totals:
        hour = self.since.replace(minute=0, second=0, microsecond=0)
        return tell(self.statistics.periods(hour, hour + timedelta(hours=3), By.HOUR, DETAILS)).total

    def _wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        end = monotonic() + seconds
        while True:
            try:
                if holds():
                    return True
            except (StoreError, BusError):
                pass  # it is asked again; what was read last counts
            if monotonic() > end:
                return False
            sleep(EVERY_SECONDS)

    def _why_it_waits(self, saga: Saga) -> tuple[str, str]:
        """Where the chain is broken: a command that was not published, a service, or whoever reads its answers."""
        waits = saga.get("waits_for") or {}
        step = waits.get("step") or saga.get("current_step") or _last_begun(saga)
        at = f"it is {saga.get('status', 'not seen')} at {step}" + (
            f", attempt {waits['attempt']}" if waits.get("attempt") else ""
        )
        to = PARTICIPANTS.get(str(step))
        if to is None:
            return at, "the logs of the orchestrators"
        waiting, unread = self._not_published(), self._unread(self.topics.events_of(to))
        if waiting:
            return f"{at}: {waiting} messages are not published", "the orchestrators' logs for `relay`, and the brokers"
        if unread:
            said = f"{at}: {unread} answers on {self.topics.events_of(to)} are not read"
            return said, "the orchestrators' logs for `worker` and `consume`"
        commands = self.topics.commands_of(to)
        said = f"{at}: the {to.value} service has not answered"
        return said, f"the {to.value} service: whether it runs and reads {commands}; its log"

    def _not_published(self) -> int:
        try:
            pending = self.outbox.pending()
        except OutboxUnavailable:
            return 0
        return pending.rows if pending.oldest_age_seconds > PUBLISHED_SECONDS else 0

    def _unread(self, topic: str) -> int:
        try:
            return sum(self.bus.group_lag(self.group, [topic]).values())
        except BusError:
            return 0


def _told(finding: Finding) -> Check:
    if finding.well:
        return passed(finding.what, finding.said)
    tell_of = noticed if finding.what in NOTICED_ONLY else failed
    return tell_of(finding.what, finding.said, finding.cure)


def _missing(before: Totals, now: Totals) -> list[str]:
    outcomes = [one.value for one in (Status.COMPLETED, Status.CANCELLED)]
    missing = [] if now.started > before.started else ["begun"]
    return missing + [one.lower() for one in outcomes if now.ended[one] <= before.ended[one]]


def _last_begun(saga: Saga) -> str:
    """The step that failed it, where one did."""
    steps = [one["name"] for one in saga.get("steps", ()) if one["became"] != "DONE"] or ["?"]
    return str(steps[-1])


def closed(address: str) -> str:
    """Why nobody can connect to it; empty where somebody can."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ADDRESS_SECONDS):
            return ""
    except TimeoutError:
        return f"no answer within {ADDRESS_SECONDS:g} s"
    except (OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
