"""New orders are refused by a person's switch or because too much is under way; what is under way goes on."""

from datetime import UTC, datetime

import pytest

from ordersaga.orchestrator.runtime.admission import Admission, AdmissionLimits, NotAdmitted
from ordersaga.orchestrator.store.board_protocol import Posted, Switch

LIMITS = AdmissionLimits(started_max=10, outbox_rows_max=100)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
STOPPED = Switch(taken=False, by="op-7", why="the kitchen burns", at=NOON)
RESUMED = Switch(taken=True, by="op-7", why="the fire is out", at=NOON)


@pytest.mark.parametrize(
    ("posted", "kind", "told"),
    [
        (Posted(switch=STOPPED), "orders-are-stopped", "stopped by op-7 at 2026-01-02 12:00:00 UTC: the kitchen burns"),
        (Posted(started=10), "too-busy", "10 sagas or more are under way"),
        (Posted(outbox_rows=100), "too-busy", "100 messages or more wait to be published"),
    ],
)
def test_a_new_order_is_refused_and_operators_see_why(posted: Posted, kind: str, told: str) -> None:
    admission = Admission(LIMITS)
    admission.learn(posted)
    with pytest.raises(NotAdmitted) as refused:
        admission.check()
    assert refused.value.kind == kind and refused.value.retry_after_seconds > 0
    assert "op-7" not in str(refused.value), "customers are not told who"
    assert admission.health().detail == told and admission.health().healthy


def test_a_process_that_falls_behind_takes_no_new_order_until_it_has_caught_up() -> None:
    behind = [1.5]
    admission = Admission(AdmissionLimits(behind_seconds_max=1.0), lambda: behind[0])
    with pytest.raises(NotAdmitted) as refused:
        admission.check()
    assert refused.value.kind == "too-busy" and refused.value.retry_after_seconds > 0
    assert admission.falls_behind() and admission.health().healthy
    assert admission.health().detail == "what comes now waits for more than 1 s until it is read"
    behind[0] = 0.9
    admission.check()
    assert not admission.falls_behind() and admission.health().detail == ""


@pytest.mark.parametrize(
    "posted",
    [Posted(), Posted(started=9, outbox_rows=99), Posted(switch=Switch(taken=True, by="op-7", why="out", at=NOON))],
)
def test_otherwise_orders_are_taken(posted: Posted) -> None:
    admission = Admission(LIMITS)
    admission.learn(posted)
    admission.check()
    assert admission.health().detail == ""
