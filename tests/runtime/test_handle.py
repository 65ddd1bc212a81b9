"""One transaction per batch: what a batch does, what a bad record in it does not, and what comes of doing it twice."""

from threading import Barrier, Event, Thread
from typing import Any
from uuid import UUID

import pytest

from ordersaga.delivery.failpoints import FailpointError, armed
from ordersaga.orchestrator.core.decide import decide
from ordersaga.orchestrator.core.inputs import CancelAsked
from ordersaga.orchestrator.core.instance import Requested, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime import turn
from ordersaga.orchestrator.runtime.handle import AFTER_COMMIT, BEFORE_COMMIT
from ordersaga.orchestrator.runtime.intake import Letter
from ordersaga.orchestrator.runtime.turn import Turn
from ordersaga.orchestrator.store.protocol import CommitUnknown, Lookup, StaleWrite
from ordersaga.wire import messages as m
from ordersaga.wire.codec import decode_event
from ordersaga.wire.topics import Topics
from tests import canaries
from tests.runtime.stage import Stage, answer_lost, away, new_saga_id, raw, record, settle
from tests.sagas.stories import AUTHORIZED, CARD, CREATED, OPENED, TIMER
from tests.waiting import until

ALL = (CREATED, CARD, AUTHORIZED, OPENED, TIMER)
BY_HAND = (
    b'{"type": "ORDER_CANCELLED", "correlation_id": "order-20260123002439-f6d8f364",'
    b' "timestamp": "2099-01-02T12:00:00",'
    b' "payload": {"orderId": "o-1", "customerId": "c4n4ry-1", "status": "cancelled", "event": "{}"}}'
)
WAITING = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
CUSTOMER = CancelAsked(Requested(actor="c4n4ry-1", role="customer", reason=Reason.CUSTOMER_REQUEST))


def test_a_batch_moves_every_saga_that_it_concerns(stage: Stage) -> None:
    ids = [stage.begin() for _ in range(20)]
    for event in ALL:
        stage.handler.records([stage.answer(saga_id, _own(event, saga_id)) for saga_id in ids])
    assert {stage.get(saga_id).status for saga_id in ids} == {Status.COMPLETED}
    assert stage.counting.snapshot()["status", "COMPLETED"] == 20


def test_several_events_of_one_saga_in_one_batch_are_one_change(stage: Stage) -> None:
    saga_id = stage.begin()
    stage.handler.records([record(CREATED, saga_id), record(CREATED, saga_id), record(CARD, saga_id)])
    assert stage.get(saga_id).step == "AUTHORIZE_PAYMENT"
    assert [entry.revision for entry in stage.store.history(saga_id)] == [1, 2, 3]


def test_a_batch_that_is_delivered_again_has_no_second_effect(stage: Stage) -> None:
    saga_id = stage.begin()
    batch = [stage.answer(saga_id, CREATED)]
    stage.handler.records(batch)
    once, rows = stage.get(saga_id), stage.one("select count(*) from outbox")
    stage.commands()
    stage.handler.records(batch)
    assert stage.get(saga_id) == once
    assert stage.one("select count(*) from outbox") == rows
    assert stage.commands() == []
    assert stage.counting.snapshot()["repeated", "done already"] == 1


def test_nothing_is_left_of_a_batch_that_was_not_committed(stage: Stage) -> None:
    saga_id = stage.begin()
    batch = [stage.answer(saga_id, CREATED)]
    before, rows = stage.get(saga_id), stage.one("select count(*) from outbox")
    with armed(BEFORE_COMMIT, "raise"), pytest.raises(FailpointError):
        stage.handler.records(batch)
    assert stage.get(saga_id) == before
    assert stage.one("select count(*) from outbox") == rows
    stage.handler.records(batch)
    assert stage.get(saga_id).step == "GET_USER_DATA"


def test_what_was_committed_and_not_published_stays_in_the_outbox(stage: Stage) -> None:
    saga_id = stage.begin()
    stage.commands()
    with armed(AFTER_COMMIT, "raise"), pytest.raises(FailpointError):
        stage.handler.records([stage.answer(saga_id, CREATED)])
    assert stage.commands() == []
    assert stage.one("select count(*) from outbox where topic = 'user_commands'") == 1


def test_an_order_whose_commit_has_no_answer_is_looked_for_and_not_lost(stage: Stage) -> None:
    with armed(AFTER_COMMIT, answer_lost):
        saga_id = stage.begin()
    assert stage.get(saga_id).status is Status.STARTED
    assert stage.one("select count(*) from sagas") == 1


def test_of_an_order_whose_commit_has_no_answer_nothing_is_said_while_the_database_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with armed(AFTER_COMMIT, answer_lost), monkeypatch.context() as patch:
        patch.setattr(stage.store, "get", away)
        with pytest.raises(CommitUnknown):
            stage.begin()
    assert stage.one("select count(*) from sagas") == 1


def test_an_order_that_was_not_written_is_not_promised(stage: Stage) -> None:
    with armed(BEFORE_COMMIT, answer_lost), pytest.raises(CommitUnknown):
        stage.begin()
    assert stage.one("select count(*) from sagas") == 0


def test_an_unreadable_record_is_kept_whole_and_holds_up_nobody(stage: Stage) -> None:
    saga_id = stage.begin()
    poison = [
        raw(b"{"),
        raw(None),
        raw(b'{"type": "order.created", "correlation_id": "x", "payload": {"order_id": 7}}'),
    ]
    stage.handler.records([poison[0], stage.answer(saga_id, CREATED), *poison[1:]])
    assert stage.get(saga_id).step == "GET_USER_DATA"
    assert stage.one("select array_agg(value order by id) from dead_letters") == [one.value for one in poison]
    assert stage.one("select count(*) from outbox where topic = 'saga_dead_letters'") == 3


def test_a_dead_letter_that_is_delivered_again_is_kept_once(stage: Stage) -> None:
    poison = raw(b"{")
    stage.handler.records([poison])
    stage.handler.records([poison])
    assert stage.one("select count(*) from dead_letters") == 1


def test_an_answer_for_a_saga_that_nobody_knows_is_an_orphan(stage: Stage) -> None:
    stranger = new_saga_id()
    stage.handler.records([record(CREATED, stranger)])
    assert stage.one("select saga_id from orphans") == stranger


def test_foreign_traffic_is_only_counted(stage: Stage) -> None:
    payout = m.PaymentReleased(payment_id="payout-1", status="SUCCEEDED")
    other = b'{"type": "shipment.left", "correlation_id": "s-1", "timestamp": "2026-01-02T12:00:00", "payload": []}'
    stage.handler.records([raw(other), record(payout, "flow-17")])
    counted = stage.counting.snapshot()
    assert sum(count for (pile, _), count in counted.items() if pile == "foreign") == 2
    assert stage.one("select count(*) from dead_letters") == stage.one("select count(*) from orphans") == 0


def test_an_acceptance_finds_its_saga_by_the_order(stage: Stage) -> None:
    saga_id = stage.begin()
    settle(stage, saga_id, ALL)
    accepted = (
        b'{"type": "ORDER_ACCEPTED", "correlation_id": "order-20260123002439-f6d8f364", '
        b'"timestamp": "2099-01-02T12:00:00",'
        b' "payload": {"orderId": "o-1", "customerId": "c4n4ry-1", "runnerId": "r-1", "status": "accepted",'
        b' "event": "{}"}}'
    )
    stage.handler.records([raw(accepted)])
    assert stage.get(saga_id).closed
    assert stage.one("select count(*) from deadlines") == 0


def test_an_acceptance_with_an_id_like_ours_finds_its_saga_all_the_same(stage: Stage) -> None:
    saga_id = stage.begin()
    settle(stage, saga_id, ALL)
    stage.handler.records([record(m.OrderAccepted(order_id="o-1", runner_id="r-1"), new_saga_id())])
    assert stage.get(saga_id).closed


def test_what_is_undone_by_hand_under_an_id_like_ours_finds_its_saga_and_holds_up_nobody(stage: Stage) -> None:
    saga_id, other = stage.begin(), stage.begin()
    settle(stage, saga_id, ALL)
    released = record(m.PaymentReleased(payment_id="p-1", status="REVERTED"), new_saga_id())
    stage.handler.records([released, stage.answer(other, CREATED)])
    assert stage.get(saga_id).status is Status.CANCELLING
    assert stage.get(other).step == "GET_USER_DATA"


def test_an_answer_for_a_saga_that_is_not_there_is_no_other_sagas(stage: Stage) -> None:
    saga_id = stage.begin()
    settle(stage, saga_id, ALL)
    before = stage.get(saga_id)
    stage.handler.records([record(AUTHORIZED, new_saga_id())])
    assert stage.get(saga_id) == before
    assert stage.one("select count(*) from orphans") == 1


def test_it_is_no_other_sagas_either_where_that_one_is_in_the_same_batch(stage: Stage) -> None:
    """It names an order and a payment that are there. What answers nothing goes by them all the same."""
    saga_id = stage.begin()
    settle(stage, saga_id, ALL)
    before = stage.get(saga_id)
    stage.handler.records([stage.answer(saga_id, TIMER), record(AUTHORIZED, stranger := new_saga_id())])
    assert stage.get(saga_id) == before
    assert stage.one("select array_agg(saga_id) from orphans") == [stranger]
    accepted = m.OrderAccepted(order_id="o-1", runner_id="r-1")
    stage.handler.records([stage.answer(saga_id, TIMER), record(accepted, new_saga_id())])
    assert stage.get(saga_id).closed


def test_an_event_that_overtakes_the_answer_with_its_id_is_kept_until_that_comes(
    stage: Stage,
) -> None:
    saga_id = stage.begin()
    by_hand = raw(BY_HAND)
    stage.handler.records([by_hand])
    stage.handler.records([by_hand])
    assert stage.one("select array_agg(reference) from early_events") == ["order_id o-1"]
    stage.handler.records([stage.answer(saga_id, CREATED)])
    assert stage.get(saga_id).status is Status.CANCELLING
    assert stage.one("select count(*) from early_events") == 0
    causes = stage.one("select array_agg(cause order by revision) from saga_history")
    assert causes == ["started", "order.created", "ORDER_CANCELLED"]


def test_it_is_applied_too_where_both_come_in_one_batch(stage: Stage) -> None:
    saga_id = stage.begin()
    by_hand = raw(BY_HAND)
    stage.handler.records([by_hand, stage.answer(saga_id, CREATED)])
    assert stage.get(saga_id).status is Status.CANCELLING
    assert stage.one("select count(*) from early_events") == 0


def test_an_event_that_comes_while_its_id_is_being_learnt_is_not_kept_beside_it(stage: Stage) -> None:
    saga_id = stage.begin()
    by_hand = raw(BY_HAND)
    learning = Event()

    def learn() -> None:
        with stage.store.transaction() as transaction:
            loaded = transaction.load(Lookup(saga_ids={saga_id}))
            turn = Turn(stage.sagas, Topics(), loaded)
            turn.read(Letter(created, decode_event(created.value)))  # type: ignore[arg-type]
            learnt = turn.learnt
            turn.catch_up(transaction.claim(learnt), learnt)
            learning.set()
            until(lambda: stage.one(WAITING) == 1, "the other waits for the id")
            transaction.save(turn.batch())

    created = stage.answer(saga_id, CREATED)
    learner = Thread(target=learn)
    learner.start()
    assert learning.wait(10)
    with pytest.raises(StaleWrite):
        # It waits for the one that learns the id, and is then told to look again.
        stage.handler.records([by_hand])
    learner.join(10)
    stage.handler.records([by_hand])
    assert stage.get(saga_id).status is Status.CANCELLING
    assert stage.one("select count(*) from early_events") == 0


def test_a_fault_in_deciding_sets_aside_that_letter_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = stage.begin(), stage.begin()

    def faulty(definition: Any, instance: Any, seen: Any, now: Any, **more: Any) -> Any:
        if instance.saga_id == bad:
            raise ZeroDivisionError("a bug of ours")
        return decide(definition, instance, seen, now, **more)

    monkeypatch.setattr(turn, "decide", faulty)
    stage.handler.records([stage.answer(bad, CREATED), stage.answer(good, CREATED)])
    assert (stage.get(bad).step, stage.get(good).step) == ("CREATE_ORDER", "GET_USER_DATA")
    assert stage.one("select reason from dead_letters") == "decide_failed"


def test_every_record_ends_in_exactly_one_pile(stage: Stage) -> None:
    saga_id = stage.begin()
    created = stage.answer(saga_id, CREATED)
    batch = [
        created,
        created,
        raw(b"?"),
        record(CREATED, new_saga_id()),
        raw(b'{"type": "other", "payload": {}}'),
        record(AUTHORIZED, saga_id),
        record(m.OrderAccepted(order_id="nobody's"), "x"),
    ]
    stage.handler.records(batch)
    counted = stage.counting.snapshot()
    piles = ("applied", "repeated", "late", "stray", "foreign", "kept", "orphaned", "dead")
    assert sum(count for (pile, _), count in counted.items() if pile in piles) == len(batch)


def test_of_two_workers_with_one_saga_one_moves_it_and_the_other_sees_that(stage: Stage) -> None:
    saga_id = stage.begin()
    answer = stage.answer(saga_id, CREATED)
    together = Barrier(4)

    def work() -> None:
        together.wait()
        stage.handler.records([answer])

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert stage.get(saga_id).revision == 2
    counted = stage.counting.snapshot()
    assert (counted["applied", ""], counted["repeated", "done already"]) == (1, 3)


def test_a_cancel_and_an_answer_at_the_same_moment_have_one_order(stage: Stage) -> None:
    ids = [stage.begin() for _ in range(10)]
    answers = {saga_id: stage.answer(saga_id, CREATED) for saga_id in ids}
    threads = [Thread(target=_cancel, args=(stage, saga_id)) for saga_id in ids]
    threads += [Thread(target=stage.handler.records, args=([answers[saga_id]],)) for saga_id in reversed(ids)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for saga_id in ids:
        saga = stage.get(saga_id)
        assert (saga.status, saga.revision) == (Status.CANCELLING, 3)
        assert saga.outstanding
        assert saga.data.order_id == "o-1"


def test_personal_data_is_in_its_own_table_and_nowhere_else(stage: Stage) -> None:
    saga_id = stage.begin()
    settle(stage, saga_id, (CREATED, CARD))
    assert stage.one("select data ->> 'stripe_customer_id' from saga_personal") == "cus_c4n4ry"
    for table in ("sagas", "saga_history", "deadlines"):
        assert "cus_c4n4ry" not in stage.one(f"select string_agg({table}::text, '') from {table}")
        assert canaries.CUSTOMER not in stage.one(f"select string_agg({table}::text, '') from {table}")


def _cancel(stage: Stage, saga_id: UUID) -> None:
    stage.handler.ask(saga_id, CUSTOMER, "verb.cancel", {})


def _own(event: m.Event, saga_id: UUID) -> m.Event:
    """The event with ids of this saga's own."""
    own = {"order_id": f"o-{saga_id}", "payment_id": f"p-{saga_id}", "payment_intent_id": f"pi-{saga_id}"}
    fields = {name: own.get(name) or getattr(event, name) for name in event.__struct_fields__}
    return type(event)(**fields)
