"""Looks at everything that the orchestrator needs, and says of each thing that it is well or what to do about it."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ordersaga.bus.protocol import Bus, BusError
from ordersaga.delivery.outbox_protocol import Outbox, OutboxUnavailable
from ordersaga.orchestrator.runtime.finding import Finding
from ordersaga.orchestrator.store.board_protocol import Board
from ordersaga.orchestrator.store.protocol import Lookup, SchemaMismatch, Store, StoreError

CLOCKS_DIFFER_SECONDS = 2.0
OUTBOX_AGE_SECONDS = 60.0
DEADLINES_LATE_SECONDS = 30.0
LAG_RECORDS = 10_000
CHECK_SECONDS = 10.0
OURS = "ordersaga-"
"""How the client ids of our members begin."""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What it asks changes nothing."""

    store: Store
    outbox: Outbox
    board: Board
    bus: Bus
    topics: Collection[str]
    group: str
    read: Collection[str]
    """Of the topics, those that the group reads."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    at_the_database: Callable[[], Iterable[Finding]] | None = None
    """Looks closer than we do by ourselves; the same for the brokers."""
    at_the_brokers: Callable[[], Iterable[Finding]] = tuple
    redact: Callable[[str], str] = lambda text: text
    """For what servers say, who may quote what they were told."""

    def findings(self) -> Iterator[Finding]:
        """Each as soon as it is known. What cannot be asked because something else is wrong is left out."""
        for found in self._found():
            yield replace(found, said=self.redact(found.said))

    def _found(self) -> Iterator[Finding]:
        database = list(self.at_the_database() if self.at_the_database else [self._database()])
        yield from database
        if all(found.well for found in database):
            yield from self._clock()
            yield from self._work()
        kafka = self._kafka()
        yield kafka
        if kafka.well:
            yield from self._at_the_brokers()
            yield from self._asked_of_brokers()

    def _database(self) -> Finding:
        try:
            self.store.check(CHECK_SECONDS)
        except SchemaMismatch as error:
            cure = "run `ordersaga migrate`, with the newest version that runs"
            return Finding(what="database", said=str(error), cure=cure)
        except StoreError as error:
            cure = "see that host, port, name, user and password in DATABASE_URL are right and the server runs"
            return Finding(what="database", said=str(error), cure=cure)
        return Finding(what="database", said="answers, and its schema is up to date")

    def _clock(self) -> Iterator[Finding]:
        before = self.now()
        with self.store.transaction() as transaction:
            theirs = transaction.load(Lookup()).now
        middle = before + (self.now() - before) / 2
        seconds = (theirs - middle).total_seconds()
        said = f"the database's clock is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
        cure = "set both clocks: deadlines follow the database's, ids and what people see follow this one"
        yield Finding(what="clocks", said=said, cure=cure if abs(seconds) > CLOCKS_DIFFER_SECONDS else "")

    def _work(self) -> Iterator[Finding]:
        try:
            pending, standing, posted = self.outbox.pending(), self.store.standing(), self.board.read(1)
        except (StoreError, OutboxUnavailable) as error:
            yield Finding(what="tables", said=str(error), cure="look at the database's log")
            return
        old = pending.oldest_age_seconds > OUTBOX_AGE_SECONDS
        said = f"{pending.rows} messages wait, the oldest for {pending.oldest_age_seconds:.0f} s"
        yield Finding(what="outbox", said=said, cure="start a process, or bring the brokers back" if old else "")
        late = standing.deadlines_late_seconds > DEADLINES_LATE_SECONDS
        said = f"{standing.deadlines_due} are due, the oldest for {standing.deadlines_late_seconds:.0f} s"
        cure = "start a process with `deadlines`; where one runs, its /readyz says what it waits for"
        if late and posted.pause is not None and posted.pause.paused:
            said += f"; reading is paused: {posted.pause.by}: {posted.pause.why}"
            cure = "`ordersaga consumption resume`, when it is time"
        if standing.deadlines_failing:
            said += f"; {standing.deadlines_failing} fail and are put off"
            cure = "see `deadlines.failed` in the log and the runbook"
        yield Finding(what="deadlines", said=said, cure=cure if late or standing.deadlines_failing else "")
        troubled = standing.failed or standing.attention or standing.dead_letters
        said = f"{standing.failed} FAILED, {standing.attention} with attention, {standing.dead_letters} dead letters"
        cure = "see `ordersaga sagas list --status FAILED`, `ordersaga dead-letters list` and the runbook"
        yield Finding(what="sagas", said=said, cure=cure if troubled else "")
        if standing.orphans:
            said = f"{standing.orphans} answers are for sagas that nobody knows"
            yield Finding(what="orphans", said=said, cure="see `ordersaga orphans` and the runbook")
        for name, silence in sorted(posted.silences.items()):
            said = f"{name.value} has not answered {silence.commands} commands"
            yield Finding(what="participants", said=said, cure=f"look at the {name.value} service")
        stopped = posted.switch is not None and not posted.switch.taken
        said = f"are stopped: {posted.switch.by}: {posted.switch.why}" if stopped and posted.switch else "are taken"
        yield Finding(
            what="new orders", said=said, cure="`ordersaga orders resume`, when it is time" if stopped else ""
        )

    def _kafka(self) -> Finding:
        try:
            self.bus.check(CHECK_SECONDS)
        except BusError as error:
            cure = "see that KAFKA_BOOTSTRAP_SERVERS, user, password and certificates are right and a broker runs"
            return Finding(what="kafka", said=str(error), cure=cure)
        return Finding(what="kafka", said="answers")

    def _at_the_brokers(self) -> Iterator[Finding]:
        try:
            yield from self.at_the_brokers()
        except BusError as error:
            yield Finding(what="kafka rights", said=str(error), cure="give our user the right to DESCRIBE what it uses")

    def _asked_of_brokers(self) -> Iterator[Finding]:
        try:
            yield from self._topics()
            yield self.worker()
            yield self._lag()
        except BusError as error:
            yield Finding(what="brokers", said=str(error), cure="ask again; look at the brokers' logs")

    def _topics(self) -> Iterator[Finding]:
        cluster = self.bus.describe()
        missing = sorted(set(self.topics) - cluster.topics.keys())
        counts = sorted({cluster.topics[name].partitions for name in self.topics if name in cluster.topics})
        there = f"all there, with {' or '.join(map(str, counts))} partitions"
        said = f"{', '.join(missing)} missing" if missing else there
        yield Finding(what="topics", said=said, cure="run `ordersaga topics apply`" if missing else "")
        ours = [cluster.topics[name] for name in self.topics if name in cluster.topics]
        behind, leaderless = sum(one.behind for one in ours), sum(one.leaderless for one in ours)
        said = (
            f"{behind} partitions lack a copy, {leaderless} have no leader"
            if behind
            else "every partition has its copies"
        )
        yield Finding(what="copies", said=said, cure="start the broker that is away, or see its log" if behind else "")
        if cluster.creates_topics:
            said = "create a topic for whoever mistypes a name"
            yield Finding(what="brokers", said=said, cure="set auto.create.topics.enable=false")

    def worker(self) -> Finding:
        """Whether anybody reads what services answer. Raises `BusError`."""
        found = self.bus.members(self.group)
        partitions = sum(len(one.partitions) for one in found)
        said = f"{len(found)} in the group {self.group}, with {partitions} partitions"
        if strangers := sorted({one.client_id for one in found if not one.client_id.startswith(OURS)}):
            said += f"; not of ours: {', '.join(strangers)}, which keeps answers from us"
            return Finding(what="worker", said=said, cure="stop it, or give us another ORDERSAGA_KAFKA_GROUP")
        if found:
            return Finding(what="worker", said=said)
        said = f"nobody is in the group {self.group}, so nobody reads what services answer"
        return Finding(
            what="worker", said=said, cure="start `ordersaga serve`, or one with `--only worker`; see its log"
        )

    def _lag(self) -> Finding:
        lag = self.bus.group_lag(self.group, self.read)
        behind = sum(lag.values())
        cure = "start more processes, up to one for each partition" if behind > LAG_RECORDS else ""
        return Finding(what="lag", said=f"{behind} records are not read yet", cure=cure)
