"""The statistics are those of the history, whatever was delivered again, lost its commit, or was folded meanwhile."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.delivery.background import Chore
from ordersaga.delivery.failpoints import FailpointError, armed
from ordersaga.orchestrator.core.inputs import CancelAsked
from ordersaga.orchestrator.core.instance import Direction, Requested, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.handle import BEFORE_COMMIT
from ordersaga.orchestrator.runtime.statistics import DETAILS, Durations, Told, bin_of, seconds_of, tell
from ordersaga.orchestrator.store.statistics import PostgresStatistics
from ordersaga.orchestrator.store.statistics_protocol import By
from ordersaga.wire import messages as m
from tests.runtime.stage import Stage, record, settle
from tests.sagas.stories import CANCELLED, CARD, CREATED, DECLINED, OPENED, TIMER
from tests.waiting import until

REFUSED = m.PaymentInfoFailed(error="User not found")
CUSTOMER = CancelAsked(Requested(actor="c4n4ry-1", role="customer", reason=Reason.CUSTOMER_REQUEST))
FULL_COUNT = """
select h.body ->> 'status', count(*) from ordersaga.saga_history h
left join ordersaga.saga_history was on was.saga_id = h.saga_id and was.revision = h.revision - 1
where h.body ->> 'status' is distinct from was.body ->> 'status' group by 1
"""


@pytest.fixture
def statistics(stage: Stage) -> PostgresStatistics:
    return PostgresStatistics(stage.pool)


def told(statistics: PostgresStatistics) -> Told:
    now = datetime.now(UTC)
    return tell(statistics.periods(now - timedelta(hours=2), now + timedelta(hours=2), By.HOUR, DETAILS))


def full_count(stage: Stage) -> dict[str, int]:
    with stage.pool.connection() as connection:
        return dict(connection.execute(FULL_COUNT.encode()).fetchall())


def work(stage: Stage) -> None:
    """Orders that end in every way, with a batch that fails before its commit and one that comes again."""
    for number in range(6):
        saga_id = stage.begin()
        settle(stage, saga_id, [CREATED, CARD])
        if number % 3 == 0:
            batch = [record(DECLINED, saga_id, causation_id=stage.get(saga_id).outstanding.message_id)]  # type: ignore[union-attr]
            with armed(BEFORE_COMMIT, "raise"), pytest.raises(FailpointError):
                stage.handler.records(batch)
            stage.handler.records(batch)
            stage.handler.records(batch)
            settle(stage, saga_id, [CANCELLED])
            continue
        paid = m.PaymentAuthorized(
            payment_id=f"p-{saga_id}", order_id="o-1", payment_intent_id=f"pi-{saga_id}", status="AUTHORIZED"
        )
        settle(stage, saga_id, [paid, OPENED, TIMER])
        if number % 3 == 1:
            stage.handler.ask(saga_id, CUSTOMER, "verb.cancel", {})
            settle(stage, saga_id, [CANCELLED, m.PaymentReleased(payment_id=f"p-{saga_id}", status="REVERTED")])
            settle(stage, saga_id, [m.TimerCancelled(order_id="o-1")])


def test_they_are_those_of_a_full_count(stage: Stage, statistics: PostgresStatistics) -> None:
    work(stage)
    found, counted = told(statistics), full_count(stage)
    assert found.total.started == 6
    outcomes = {status: counted[status] for status in ("COMPLETED", "COMPENSATED", "CANCELLED")}
    assert found.total.ended == Counter(outcomes)
    assert outcomes == {"COMPLETED": 4, "COMPENSATED": 2, "CANCELLED": 2}
    assert found.reasons["COMPENSATED", "PAYMENT_DECLINED"] == 2
    assert found.reasons["CANCELLED", "CUSTOMER_REQUEST"] == 2
    assert found.steps["AUTHORIZE_PAYMENT", "do"].became == Counter({"DONE": 4, "REFUSED": 2})
    assert found.steps["CREATE_ORDER", "undo"].became == Counter({"UNDONE": 4})
    assert found.total.durations.bins.total() == found.total.ended.total()


def test_what_one_batch_does_to_many_counts_for_each(stage: Stage, statistics: PostgresStatistics) -> None:
    ids = [stage.begin() for _ in range(3)]
    stage.handler.records([stage.answer(saga_id, CREATED) for saga_id in ids])
    stage.handler.records([stage.answer(saga_id, REFUSED if saga_id == ids[0] else CARD) for saga_id in ids])
    found = told(statistics)
    assert found.steps["CREATE_ORDER", "do"].became == Counter({"DONE": 3})
    assert found.steps["GET_USER_DATA", "do"].became == Counter({"DONE": 2, "REFUSED": 1})
    assert found.steps["CREATE_ORDER", "do"].durations.bins.total() == 3
    assert found.steps["CREATE_ORDER", "do"].durations.microseconds > 0
    assert stage.counting.snapshot()["applied", ""] == 6


def test_folding_changes_no_figure_however_often_and_by_whom(stage: Stage, statistics: PostgresStatistics) -> None:
    work(stage)
    before = told(statistics)
    assert statistics.fold() > 0
    assert statistics.fold() == 0
    assert told(statistics) == before
    work(stage)
    folding = Chore("statistics", statistics.fold, every_seconds=0.05)
    folding.start()
    until(lambda: bool(stage.one("select count(*) from statistics_added") == 0), "all is folded")
    assert folding.health().healthy
    assert folding.stop(5)
    assert told(statistics).total.ended == Counter({"COMPLETED": 8, "COMPENSATED": 4, "CANCELLED": 4})


def test_what_is_under_way_and_what_failed_is_read_from_the_sagas(stage: Stage, statistics: PostgresStatistics) -> None:
    stage.begin()
    settle(stage, stage.begin(), [CREATED])
    assert {(one.status, one.step, one.count) for one in statistics.in_flight()} == {
        ("STARTED", "CREATE_ORDER", 1),
        ("STARTED", "GET_USER_DATA", 1),
    }
    assert list(statistics.failures()) == []
    stage.execute(
        """update sagas set status = 'FAILED', reason = 'CUSTOMER_REQUEST',
        state = state || '{"stuck": {"step": "CREATE_ORDER", "from_status": "CANCELLING", "problem": "silent"}}'"""
    )
    (failure,) = statistics.failures()
    assert (failure.reason, failure.step, failure.problem, failure.count) == (
        "CUSTOMER_REQUEST", "CREATE_ORDER", "silent", 2,
    )  # fmt: skip
    assert len(failure.examples) == 2


def test_days_are_sums_of_their_hours(stage: Stage, statistics: PostgresStatistics) -> None:
    """However the time that is asked for cuts the days; and after an hour was changed or folded into again."""
    begin, hours = datetime(2026, 3, 4, tzinfo=UTC), 24 * 4
    for hour in range(hours):
        stage.execute(
            "insert into statistics values (%s, 'create_order', 'started', '', %s, 0)",
            begin + timedelta(hours=hour), 10 + hour,
        )  # fmt: skip
    stage.execute("update statistics set count = count + 1000 where bucket = %s", begin + timedelta(hours=30))
    counts = {begin + timedelta(hours=hour): 10 + hour + 1000 * (hour == 30) for hour in range(hours)}
    for first, past in [(0, hours), (3, 5), (3, 24), (24, 48), (25, 47), (5, 29), (47, 73), (1, hours - 1)]:
        since, until = begin + timedelta(hours=first), begin + timedelta(hours=past)
        told = tell(statistics.periods(since, until, By.DAY, DETAILS))
        wanted: Counter[datetime] = Counter()
        for at, count in counts.items():
            if since <= at < until:
                wanted[at.replace(hour=0)] += count
        assert {day: totals.started for day, totals in told.periods.items()} == wanted
        assert told.total.started == wanted.total()


def test_who_adds_to_days_goes_one_after_the_other(database_url: str, stage: Stage) -> None:
    """Two would take the rows of a day in different orders: each adds hours of some labels and changes others."""
    insert = (
        b"insert into statistics values"
        b" (timestamptz '2026-03-04 10:00Z' + %s * interval '1 hour', 'create_order', 'x', %s, 1)"
    )
    path = "-c search_path=ordersaga"
    with (
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(database_url, options=path) as one,
        psycopg.connect(database_url, options=path) as other,
    ):
        one.execute(insert, (0, "a"))
        waiting = threads.submit(other.execute, insert, (1, "b"))
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        one.execute(insert, (0, "b"))
        one.commit()
        waiting.result(10)
        other.execute(insert, (1, "a"))
        other.commit()
    assert stage.one("select array_agg(count order by label) from statistics_days where kind = 'x'") == [2, 2]


def test_what_is_not_folded_yet_is_in_its_day(stage: Stage, statistics: PostgresStatistics) -> None:
    work(stage)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    time = now - timedelta(hours=2), now + timedelta(hours=2)
    before = tell(statistics.periods(*time, By.DAY, DETAILS))
    assert before.total.started == 6
    assert statistics.fold() > 0
    assert tell(statistics.periods(*time, By.DAY, DETAILS)) == before
    by_hour = tell(statistics.periods(*time, By.HOUR, DETAILS))
    assert (by_hour.total, by_hour.steps, by_hour.reasons) == (before.total, before.steps, before.reasons)


def test_what_a_newer_version_counts_is_passed_over(stage: Stage, statistics: PostgresStatistics) -> None:
    stage.execute("insert into statistics values (date_trunc('hour', now()), 'create_order', 'novelty', 'x', 1, 0)")
    assert told(statistics).total.started == 0


@given(st.floats(min_value=0.0011, max_value=100_000))
def test_a_duration_is_known_to_within_a_tenth(seconds: float) -> None:
    assert abs(seconds_of(bin_of(seconds)) - seconds) <= 0.1 * seconds


def test_quantiles_are_of_all_that_was_measured() -> None:
    durations = Durations()
    assert durations.quantile(0.5) is None and durations.mean is None
    for seconds, count in ((0.1, 98), (10.0, 2)):
        durations.add(bin_of(seconds), count, round(seconds * count * 1_000_000))
    assert durations.quantile(0.5) == pytest.approx(0.1, rel=0.1)
    assert durations.quantile(0.99) == pytest.approx(10.0, rel=0.1)
    assert durations.mean == pytest.approx(0.298)


def test_the_words_of_the_labels_hold_no_separator() -> None:
    assert not any("|" in word for words in (Status, Reason, Direction) for word in words)
