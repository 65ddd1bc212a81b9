"""What this process did and how things stand, for Prometheus.

What sagas did is measured as it is committed, by each process for itself: sum over them. How things stand is asked of
the database and the brokers when somebody looks, the same from each process: take the maximum. No label holds an id.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ordersaga.bus.protocol import Bus, BusError
from ordersaga.delivery.outbox_protocol import Outbox, OutboxUnavailable
from ordersaga.orchestrator.core.facts import OUTCOMES, Began, Ended, Facts, Repeated, StepEnded
from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.store.protocol import Store, StoreError

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STEP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SAGA_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 7200)
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

    def paused_while(self, wanted: Callable[[], bool | None]) -> None:
        self._paused.set_function(lambda: -1 if (paused := wanted()) is None else paused)

    def same_again(self) -> None:
        self._twins.inc()

    def reconciled(self, differences: int) -> None:
        self._differences.set(differences)

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

    def collect(self) -> Iterator[Metric]:
        yield from self._counted()
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
