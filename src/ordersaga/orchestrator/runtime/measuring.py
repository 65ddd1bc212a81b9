"""What this process did and how things stand, for Prometheus.

What sagas did is measured as it is committed, by each process for itself: sum over them. How things stand is asked of
the database and the brokers when somebody looks, the same from each process: take the maximum. No label holds an id.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ordersaga.bus.protocol import Bus, BusError, Record
from ordersaga.delivery.consume import ConsumeFigures
from ordersaga.delivery.outbox_protocol import Outbox, OutboxUnavailable
from ordersaga.delivery.relay_pace import RelayFigures
from ordersaga.orchestrator.core.facts import OUTCOMES, Began, Ended, Facts, Repeated, StepEnded
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.admission import NotAdmitted
from ordersaga.orchestrator.runtime.counting import BECAME, Counting
from ordersaga.orchestrator.store.protocol import Store, StoreError

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STEP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SAGA_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 7200)
BATCH_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
UNKNOWN_YET = "starting"
REFUSALS = ("orders-are-stopped", "too-busy", "busy", UNKNOWN_YET)
"""Why an order is not taken, as the answer's `type` says it."""
CHECK_SECONDS = 2.0
"""So long is a database waited for: a scrape that takes too long says nothing at all."""


class Measures:
    """Counters and histograms of what sagas did, fed with the facts of what was committed."""

    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        here: Any = {"registry": self.collected}
        self._started = Counter("saga_started", "Sagas that were begun", **here)
        self._finished = Counter("saga_finished", "Times that a saga reached an outcome", ["outcome", "reason"], **here)
        for outcome, why in _outcomes():
            self._finished.labels(outcome, why)
        self._duration = Histogram(
            "saga_duration_seconds", "From the order to an outcome", ["outcome"], buckets=SAGA_BUCKETS, **here
        )
        self._steps = Histogram(
            "saga_step_duration_seconds",
            "From the first command of a step, or of its undo, to what came of it",
            ["step", "direction", "outcome"],
            buckets=STEP_BUCKETS,
            **here,
        )
        self._twins = Counter("orders_same_again", "Orders that their customer had placed a moment before", **here)
        self._differences = Gauge(
            "reconcile_differences", "Between payments and sagas, when they were last compared; -1: never yet", **here
        )
        self._differences.set(-1)
        self._paused = Gauge(
            "consumption_paused", "Whether an operator has paused what is read; -1: not known yet", **here
        )
        self._retries = Counter("saga_step_retries", "Commands that were sent again", ["step", "direction"], **here)
        self._compared_at = Gauge(
            "reconcile_last_success_timestamp_seconds",
            "When payments and sagas were last compared; 0: not since the start",
            **here,
        )
        self._compared_every = Gauge(
            "reconcile_every_seconds", "How often they are to be compared; 0: only when somebody asks", **here
        )
        self._taken = Gauge("orders_taken", "Whether new orders are taken; -1: not known yet", **here)
        self._taken.set(-1)
        self._refused = Counter("orders_refused", "Orders that were not taken, by what was answered", ["why"], **here)
        for why in REFUSALS:
            self._refused.labels(why)
        self._batches = Histogram(
            "messaging_process_duration_seconds",
            "How long a batch of records takes, from the bus to its COMMIT; one that fails counts too",
            buckets=BATCH_BUCKETS,
            **here,
        )

    def paused_while(self, wanted: Callable[[], bool | None]) -> None:
        self._paused.set_function(lambda: -1 if (paused := wanted()) is None else paused)

    def same_again(self) -> None:
        self._twins.inc()

    def admitting(self, check: Callable[[], None]) -> Callable[[], None]:
        """`check` raises `NotAdmitted` while no order is taken; what is returned does too, and counts it."""
        self._taken.set_function(lambda: _taken(check))

        def admit() -> None:
            try:
                check()
            except NotAdmitted as error:
                self.refused(error.kind)
                raise

        return admit

    def refused(self, why: str) -> None:
        """An order was not taken. `why`: see `REFUSALS`."""
        self._refused.labels(why).inc()

    def timed(self, handle: Callable[[Sequence[Record]], None]) -> Callable[[Sequence[Record]], None]:
        """The same, measured: one batch at a time, not one record."""

        def handle_timed(records: Sequence[Record]) -> None:
            began = perf_counter()
            try:
                handle(records)
            finally:
                self._batches.observe(perf_counter() - began)

        return handle_timed

    def reconciles(self, every_seconds: float) -> None:
        self._compared_every.set(every_seconds)

    def reconciled(self, differences: int) -> None:
        self._differences.set(differences)
        self._compared_at.set_to_current_time()

    def facts(self, facts: Facts) -> None:
        for fact, durations in facts.items():
            match fact:
                case Began():
                    self._started.inc(len(durations))
                case Ended(_, outcome, reason):
                    self._finished.labels(outcome, reason or "").inc(len(durations))
                    _observe(self._duration.labels(outcome), durations)
                case StepEnded(_, step, direction, outcome):
                    _observe(self._steps.labels(step, direction, outcome), durations)
                case Repeated(_, step, direction):
                    self._retries.labels(step, direction).inc(len(durations))


def _observe(histogram: Histogram, durations: Sequence[float]) -> None:
    for seconds in durations:
        histogram.observe(seconds)


def _taken(check: Callable[[], None]) -> float:
    try:
        check()
    except NotAdmitted as error:
        return -1 if error.kind == UNKNOWN_YET else 0
    except StoreError:
        return -1
    return 1


def _outcomes() -> Iterator[tuple[str, str]]:
    """All that there can be. Prometheus sees no increase in the first value of a series, and none where there is no
    series: each is there before its first saga.
    """
    yield Status.COMPLETED.value, ""
    for outcome in OUTCOMES - {Status.COMPLETED}:
        yield from ((outcome.value, reason.value) for reason in Reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing(Collector):
    """How things stand now. What cannot be asked is left out: `database_up` says so, /readyz says why."""

    counting: Counting
    store: Store
    outbox: Outbox
    bus: Bus
    group: str
    topics: Collection[str]
    """What it reads."""
    kafka: Mapping[str, int]
    """What went wrong with Kafka, by name: clients that were replaced, by kind and cause, records that are gone, and
    partitions that cannot be read.
    """
    changes: bool = True
    """Otherwise the database is only to be read."""
    relay: Callable[[], RelayFigures] | None = None
    worker: Callable[[], ConsumeFigures] | None = None
    """None where this process has none."""

    def collect(self) -> Iterator[Metric]:
        yield from self._counted()
        yield from self._messages()
        yield from self._of_the_database()
        with suppress(BusError):
            yield from list(self._lag())

    def _of_the_database(self) -> Iterator[Metric]:
        """Where it does not answer in time, nothing more is asked of it."""
        found: list[Metric] = []
        is_up = False
        with suppress(StoreError, OutboxUnavailable):
            self.store.check(CHECK_SECONDS, to_write=False)
            found += self._sagas()
            found += self._outbox()
            self.store.check(CHECK_SECONDS, to_write=self.changes)
            is_up = True
        yield GaugeMetricFamily("database_up", "Whether it can be used: all of this was read, and is written to", is_up)
        yield from found

    def _counted(self) -> Iterator[Metric]:
        late = CounterMetricFamily("saga_late_events", "Events that came too late to matter", labels=["step", "why"])
        for labels, count in self.counting.late_by_step().items():
            late.add_metric(labels, count)
        ignored = CounterMetricFamily("saga_ignored_events", "Events that changed nothing", labels=["kind", "why"])
        dead = CounterMetricFamily("dead_letters", "Records that could not be used", labels=["reason"])
        for (name, label), count in self.counting.snapshot().items():
            if name in ("repeated", "stray", "foreign", "refused"):
                ignored.add_metric([name, label], count)
            elif name == "dead":
                dead.add_metric([label], count)
        yield from (late, ignored, dead)
        replaced = CounterMetricFamily(
            "kafka_client_rebuilds", "Clients that were replaced", labels=["client", "cause"]
        )
        for name, count in self.kafka.items():
            kind, found, cause = name.partition("_rebuilds.")
            if found:
                replaced.add_metric([kind, cause], count)
        gone = self.kafka.get("consumer_records_gone", 0)
        unreadable = self.kafka.get("consumer_partitions_unreadable", 0)
        yield replaced
        yield GaugeMetricFamily(
            "kafka_partitions_unreadable", "Partitions that are left alone: what comes next cannot be read", unreadable
        )
        yield CounterMetricFamily("kafka_records_gone", "Records that were deleted before they were read", gone)

    def _messages(self) -> Iterator[Metric]:
        """What the loops have counted anyway; under OpenTelemetry's names what those have names for."""
        sent = CounterMetricFamily(
            "messaging_client_sent_messages", "Attempts to publish a message, by what went wrong", labels=["error_type"]
        )
        relayed = self.relay() if self.relay else None
        sent.add_metric([""], relayed.published_total if relayed else 0)
        sent.add_metric(["unknown"], relayed.unknown_total if relayed else 0)
        sent.add_metric(["refused"], relayed.refused_total if relayed else 0)
        yield sent
        read = self.worker() if self.worker else None
        yield CounterMetricFamily(
            "messaging_client_consumed_messages",
            "Records that were read and handled, or set aside",
            read.handled_total + read.parked_total if read else 0,
        )
        inputs = CounterMetricFamily(
            "saga_inputs", "Records, deadlines and wishes of people, by what became of them", labels=["became"]
        )
        sums = self.counting.sums()
        for became in BECAME:
            inputs.add_metric([became], sums.get(became, 0))
        yield inputs

    def _sagas(self) -> Iterator[Metric]:
        standing = self.store.standing()
        active = GaugeMetricFamily("saga_active", "Sagas that have no outcome yet", labels=["status", "step"])
        for (status, step), count in standing.active.items():
            active.add_metric([status, step or ""], count)
        yield active
        for name, text, value in (
            ("saga_oldest_active_age_seconds", "Of the sagas that have no outcome yet", standing.oldest_active_seconds),
            ("saga_stuck", "FAILED sagas that nobody has resolved", standing.failed),
            ("saga_oldest_stuck_age_seconds", "Of these, since the order", standing.oldest_failed_seconds),
            ("saga_attention", "Sagas that a person should look at, though the status is fine", standing.attention),
            ("dead_letters_open", "Records that could not be used and wait for a person", standing.dead_letters),
            ("orphans_open", "Answers for sagas that nobody knows, which wait for a person", standing.orphans),
            ("deadlines_due", "Deadlines that have passed and wait", standing.deadlines_due),
            ("deadlines_lag_seconds", "How late the oldest of them is", standing.deadlines_late_seconds),
            (
                "deadlines_failing",
                "Deadlines that failed by a fault of ours: put off",
                standing.deadlines_failing,
            ),
        ):
            yield GaugeMetricFamily(name, text, value)

    def _outbox(self) -> Iterator[Metric]:
        pending = self.outbox.pending()
        yield GaugeMetricFamily("outbox_pending", "Messages that wait to be published", pending.rows)
        yield GaugeMetricFamily("outbox_oldest_age_seconds", "Of these", pending.oldest_age_seconds)

    def _lag(self) -> Iterator[Metric]:
        lag = GaugeMetricFamily("kafka_consumer_lag", "Records not read yet", labels=["topic", "partition"])
        for (topic, partition), count in self.bus.group_lag(self.group, self.topics).items():
            lag.add_metric([topic, str(partition)], count)
        yield lag


def exposition(measures: Measures, standing: Standing) -> Callable[[], bytes]:
    """What `/metrics` answers, anew each time."""
    measures.collected.register(standing)
    return lambda: generate_latest(measures.collected)
