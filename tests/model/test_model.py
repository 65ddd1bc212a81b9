"""Every interleaving within small bounds keeps the rules, and a mistake that is planted is found."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ordersaga.model import complete_order, rules
from ordersaga.model import explore as exploring
from ordersaga.model.create_order import PLACED, definition_of, stage_of
from ordersaga.model.explore import Bounds, Found, explore
from ordersaga.model.rules import broken_by, broken_early
from ordersaga.orchestrator.core import answers
from ordersaga.orchestrator.core.decide import decide, start
from ordersaga.orchestrator.core.definition import Definition, Kind
from ordersaga.orchestrator.core.inputs import CommandDeadline, Decision, Happened, Verdict
from ordersaga.orchestrator.core.instance import Became, Status
from ordersaga.testing.kit import must_hold
from ordersaga.wire import messages as m

MAY_FOLLOW = (
    "MARK_DELIVERED was asked for 2 times, and may be done after mark_completed was settled:"
    " see what the order service holds"
)


def explored(kind: Kind, *, faults: int, hands: int, definition: Definition | None = None) -> Found:
    bounds = Bounds(faults=faults, hands=hands)
    return explore(stage_of(kind, definition), bounds)


@pytest.mark.parametrize(("kind", "faults", "hands"), [(Kind.FULL, 1, 0), (Kind.FULL, 0, 1), (Kind.BARE, 1, 0)])
def test_every_interleaving_keeps_the_rules_and_ends(kind: Kind, faults: int, hands: int) -> None:
    found = explored(kind, faults=faults, hands=hands)
    assert found.complete
    assert not found.violations, found.violations[0]
    assert found.ends["COMPLETED"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(Kind))
def test_every_interleaving_with_a_fault_and_a_hand_keeps_the_rules(kind: Kind) -> None:
    found = explored(kind, faults=1, hands=1)
    assert not found.violations, found.violations[0]
    assert found.states > 5_000


# --- the second saga ------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "faults", "hands"), [(Kind.FULL, 1, 0), (Kind.FULL, 0, 2), (Kind.BARE, 0, 1)])
def test_every_interleaving_of_a_delivery_keeps_the_rules_and_ends(kind: Kind, faults: int, hands: int) -> None:
    found = must_hold(complete_order.stage_of(kind), faults=faults, hands=hands)
    assert {"COMPLETED"} <= found.ends.keys()


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(Kind))
def test_every_interleaving_of_a_delivery_with_a_fault_and_a_hand_keeps_the_rules(kind: Kind) -> None:
    found = must_hold(complete_order.stage_of(kind), faults=1, hands=1)
    assert {"COMPLETED", "CANCELLED", "COMPENSATED"} <= found.ends.keys()


@pytest.mark.slow
def test_every_interleaving_of_a_delivery_with_a_bare_service_a_fault_and_two_hands_keeps_the_rules() -> None:
    found = must_hold(complete_order.stage_of(Kind.BARE), faults=1, hands=2)
    assert {"CANCELLED with attention", "COMPLETED with attention"} <= found.ends.keys()


@pytest.mark.parametrize(
    ("order", "why", "holds"),
    [
        ("DELIVERED", MAY_FOLLOW, True),
        ("ACCEPTED", MAY_FOLLOW, False),
        ("DELIVERED", "undo_delivery was done by hand though the order stands", False),
        ("COMPLETED", MAY_FOLLOW, True),
    ],
)
def test_a_completed_delivery_may_be_marked_last_only_where_a_person_is_told_of_that(
    order: str, why: str, holds: bool
) -> None:
    stage = complete_order.stage_of(Kind.BARE)
    begun = start(stage.definition, exploring.SAGA_ID, stage.data, exploring.NOON).instance
    record = replace(begun, status=Status.COMPLETED, attention=(why,))
    paid = replace(stage.world, order=order, payment="CAPTURED", payouts=1)
    assert complete_order.completed_is_whole(record, paid) is holds
    assert not complete_order.completed_is_whole(record, replace(paid, payouts=0)), "told or not, the runner is paid"


def test_a_capture_that_can_be_given_up_is_found_out() -> None:
    """Were the steps from the capture on like any other, an order would go back whose runner is paid."""
    definition = complete_order.definition_of(Kind.FULL)
    steps = tuple(
        dataclasses.replace(step, point_of_no_return=False, nothing_to_undo=step.undo is None)
        for step in definition.steps
    )
    plain = dataclasses.replace(definition, steps=steps)
    with pytest.raises(AssertionError, match="a delivery is not undone whose runner is paid"):
        must_hold(complete_order.stage_of(Kind.FULL, plain), faults=1, hands=1)


def test_more_states_than_are_looked_at_are_not_taken_for_all() -> None:
    with pytest.raises(AssertionError, match="more than 100 states"):
        must_hold(complete_order.stage_of(Kind.FULL), states_max=100)


# --- mistakes, planted ------------------------------------------------------------------------------


def money_first(patch: pytest.MonkeyPatch) -> Definition:
    definition = definition_of(Kind.FULL)
    cancel, revert, timer = definition.undo_order
    return dataclasses.replace(definition, undo_order=(revert, cancel, timer))


def drops(event: type[m.Event], *, once_in: Status) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        def deaf(definition: Any, instance: Any, seen: Any, now: Any, **more: Any) -> Any:
            decision = decide(definition, instance, seen, now, **more)
            if isinstance(seen, Happened) and isinstance(seen.event, event) and instance.status is once_in:
                return replace(decision, instance=instance, messages=(), verdict=Verdict.LATE)
            return decision

        patch.setattr(exploring, "decide", deaf)

    return plant


def doubt_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A step that stayed silent is taken for one that was refused."""

    def forgetful(definition: Any, instance: Any, seen: Any, now: Any, **more: Any) -> Any:
        steps = {
            name: replace(step, became=Became.REFUSED) if step.became is Became.IN_DOUBT else step
            for name, step in instance.steps.items()
        }
        return decide(definition, replace(instance, steps=steps), seen, now)

    patch.setattr(exploring, "decide", forgetful)


def last_arrival_wins(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answers, "older", lambda stamp, than: False)


@pytest.mark.parametrize(
    "plant",
    [
        drops(m.PaymentAuthorized, once_in=Status.CANCELLED),
        drops(m.PaymentAuthorized, once_in=Status.CANCELLING),
        drops(m.OrderCancelledByHand, once_in=Status.COMPLETED),
        doubt_is_forgotten,
        last_arrival_wins,
        money_first,
    ],
)
def test_a_planted_mistake_is_found(monkeypatch: pytest.MonkeyPatch, plant: Callable[..., Definition | None]) -> None:
    definition = plant(monkeypatch)
    tried = [(Kind.FULL, 0, 1), (Kind.BARE, 0, 1), (Kind.BARE, 1, 1), (Kind.FULL, 1, 1)]
    assert any(explored(k, faults=f, hands=h, definition=definition).violations for k, f, h in tried)


# --- rules that a decision can break, each shown to break ------------------------------------------


def decided(**changes: Any) -> tuple[Definition, Any, Decision]:
    """The answer to a first command, and what it did."""
    definition = definition_of(Kind.FULL)
    before = start(definition, exploring.SAGA_ID, PLACED, exploring.NOON).instance
    decision = decide(definition, before, Happened(event=m.OrderCreated(order_id="o-1")), exploring.NOON)
    instance = replace(decision.instance, **changes.pop("instance", {}))
    return definition, before, replace(decision, **{"instance": instance, **changes})


def test_a_decision_that_keeps_the_rules_breaks_none() -> None:
    definition, before, decision = decided()
    assert broken_by(definition, before, Happened(event=m.OrderCreated(order_id="o-1")), decision, exploring.NOON) == []


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"instance": {"revision": 3}}, "I7: the revision"),
        ({"instance": {"status": Status.FAILED}}, "I7: statuses"),
        ({"verdict": Verdict.LATE}, "I9"),
        ({"instance": {"outstanding": None}}, "I8"),
    ],
)
def test_a_decision_that_breaks_a_rule_is_found(changes: dict[str, Any], rule: str) -> None:
    definition, before, decision = decided(**changes)
    seen = Happened(event=m.OrderCreated(order_id="o-1"))
    assert [one for one in broken_by(definition, before, seen, decision, exploring.NOON) if one.startswith(rule)]


def test_a_deadline_that_fires_early_or_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    definition, before, decision = decided()

    def hasty(definition: Any, instance: Any, seen: Any, now: Any, **more: Any) -> Decision:
        return replace(decision, instance=replace(instance, revision=instance.revision + 1))

    monkeypatch.setattr(rules, "decide", hasty)
    assert broken_early(definition, before, exploring.NOON) == ["I12: a deadline does not fire early"]
    again = broken_by(definition, before, CommandDeadline(), decision, exploring.NOON)
    assert again == ["I12: a deadline fires once"]


def test_a_state_without_an_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A saga that waits for ever for an answer that got lost."""

    def patient(definition: Any, instance: Any, seen: Any, now: Any, **more: Any) -> Decision:
        if isinstance(seen, CommandDeadline):
            return Decision(instance=replace(instance, revision=instance.revision + 1))
        return decide(definition, instance, seen, now, **more)

    monkeypatch.setattr(exploring, "decide", patient)
    found = explored(Kind.FULL, faults=1, hands=0)
    assert (exploring.NO_END, ["an order is placed", "create_order gets lost"]) in found.violations
