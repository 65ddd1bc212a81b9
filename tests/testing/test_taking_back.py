"""What an examination made is taken back at its end, each effect by its own id, and what stays is told by its ids."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ordersaga.bus.protocol import Record
from ordersaga.testing.bare import BareServices, Told
from ordersaga.testing.conformance import Report, Result, examine
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.testing import faults as f
from tests.testing.bare_in_memory import BareInMemory
from tests.testing.in_memory import InMemory

ORDER, PAYMENT = Participant.ORDER, Participant.PAYMENT
REPEATS = "recognises repeats"
pytestmark = pytest.mark.timeout(120)


# --- how a service may be built -----------------------------------------------------------------------------------


class EachHoldHasItsPayment(BareServices):
    """A repeated command makes another payment, which can be named."""

    def _authorize(self, saga_id: str, *how: Any) -> Told:
        told = super()._authorize(saga_id, *how)
        self.holds[-1].payment_id = f"pay-{self.new_id()}"
        told[-1][2]["payment_id"] = self.holds[-1].payment_id
        return told


class RefusesTheSecond(EachHoldHasItsPayment):
    """A saga is given back once."""

    def _revert(self, command: m.RevertPayment, fails: bool) -> Told:
        saga_id = next(one.saga_id for one in self.holds if one.payment_id == command.payment_id)
        if any(one.saga_id == saga_id and not one.stands for one in self.holds):
            return [(PAYMENT, "payment.failed", {"error": "invalid_state", "message": "..."})]
        return super()._revert(command, fails)


class RefusesTheFirst(EachHoldHasItsPayment):
    """So what is said last of the saga is that another was given back."""

    def _revert(self, command: m.RevertPayment, fails: bool) -> Told:
        saga_id = next(one.saga_id for one in self.holds if one.payment_id == command.payment_id)
        first, *more = [one.payment_id for one in self.holds if one.saga_id == saga_id]
        if more and first == command.payment_id:
            return [(PAYMENT, "payment.failed", {"error": "invalid_state", "message": "..."})]
        return super()._revert(command, fails)


class CompletesAtOnce(BareServices):
    """What comes a second time is somebody's lunch by the time that anybody cancels it."""

    def _create(self, saga_id: str, command: m.CreateOrder) -> Told:
        told = super()._create(saga_id, command)
        *before, last = [one for one in self.orders.values() if one.saga_id == saga_id]
        last.status = "COMPLETED" if before else last.status
        return told


# --- what is done and said ----------------------------------------------------------------------------------------


def test_of_an_order_service_that_does_repeats_again_each_order_is_cancelled() -> None:
    bare = BareInMemory(ORDER)
    report = bare.examined(REPEATS)
    assert len(bare.services.orders) > 7, "some were made again"
    assert bare.standing == set() and report.left_standing == 0, told(report)
    assert ids(report, "undone") == set(bare.services.orders)
    lines = told(report)
    assert "Done more than once for one saga, and taken back:" in lines
    for one in bare.services.orders.values():
        was_made_again = sagas(bare).count(one.saga_id) > 1
        assert (f"    saga {one.saga_id}: {one.order_id}" in lines) == was_made_again


def test_a_whole_run_leaves_no_order_standing() -> None:
    bare = BareInMemory(ORDER)
    report = bare.examined()
    assert bare.standing == set() and report.left_standing == 0, told(report)


def test_of_a_payment_service_that_does_repeats_again_each_hold_is_given_back() -> None:
    bare = BareInMemory(PAYMENT, EachHoldHasItsPayment)
    report = bare.examined(REPEATS)
    assert len({one.payment_id for one in bare.services.holds}) > len({one.saga_id for one in bare.services.holds})
    assert bare.standing == set() and report.left_standing == 0, told(report)


@pytest.mark.parametrize("built", [RefusesTheFirst, RefusesTheSecond])
def test_what_is_not_given_back_is_told_by_its_ids_with_the_answer(built: type[BareServices]) -> None:
    bare = BareInMemory(PAYMENT, built)
    report = bare.examined(REPEATS)
    assert bare.standing and report.left_standing == len(bare.standing), told(report)
    left = {one.intent_id: one for one in bare.services.holds if one.stands}
    for one in left.values():
        (line,) = [line for line in report.lines() if one.intent_id in line and line.startswith("    ")]
        assert one.payment_id in line and one.saga_id in line and "payment.failed invalid_state" in line
    assert ids(report, "left") >= set(left)
    assert said(report)["left_standing"] == len(left)


def test_of_two_holds_under_one_id_the_one_that_no_undo_can_name_is_told() -> None:
    """B1: `revert_payment` releases only the last."""
    bare = BareInMemory(PAYMENT)
    report = bare.examined(REPEATS)
    left = {one["ids"][1] for one in said(report)["left"]}
    assert bare.standing and left == bare.standing, told(report)
    assert report.left_standing == len(left)


def test_an_order_that_is_only_said_to_be_over_is_not_taken_back() -> None:
    """B5: `order.cancelled` with a final state other than CANCELLED as its reason changes nothing."""
    bare = BareInMemory(ORDER, CompletesAtOnce)
    report = bare.examined(REPEATS)
    assert bare.standing and ids(report, "left") == bare.standing, told(report)


def test_an_order_that_came_back_to_life_is_cancelled_again() -> None:
    """B1: a late update opens what was cancelled before. Nothing else is said of it: a late create is refused."""

    def refuse(said: dict[str, Any]) -> None:
        said.update(type="order.creation_failed", payload={"error": "CANCELLED"})

    refuses = f.says_of_the(2, refuse, "order.created")()
    order = InMemory(ORDER, replace(f.decides(f.brings_back_to_life)(), says=refuses.says))
    try:
        report = examine(order.subject(restart=None), only=["stays undone"])
    finally:
        order.stop()
    assert report.of(Result.LACKS) == ["stays undone"], told(report)
    assert {row.status for row in order.tables.rows.values()} == {"CANCELLED"} and report.left_standing == 0


def test_what_was_made_before_a_service_fell_silent_is_taken_back() -> None:
    """It answers the first command, and nothing of what is asked in one partition afterwards: it is asked no more."""

    def is_lost(record: Record, told: dict[str, Any]) -> bool:
        is_first = record.key == str(told.get("correlation_id")).encode()
        return record.partition == 3 and f.is_a(told, "create_order") and not is_first

    deaf = InMemory(ORDER, f.deaf_to(is_lost)())
    try:
        report = examine(replace(deaf.subject(restart=None), greeting_seconds=5.0))
    finally:
        deaf.stop()
    assert not report.of(Result.HAS), told(report)
    assert {row.status for row in deaf.tables.rows.values()} == {"CANCELLED"}, told(report)
    assert report.left_standing == 0 and ids(report, "undone") == {row.order_id for row in deaf.tables.rows.values()}


def sagas(bare: BareInMemory) -> list[str]:
    return [one.saga_id for one in bare.services.orders.values()]


def said(report: Report) -> Any:
    return json.loads(report.as_json())


def ids(report: Report, which: str) -> set[str]:
    return {each for one in said(report)[which] for each in one["ids"]}


def told(report: Report) -> str:
    return "\n".join(report.lines())
