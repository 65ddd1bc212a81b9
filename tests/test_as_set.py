"""The saga as it is set: patience, window, kinds, and a timer service that may be left out."""

from dataclasses import asdict, replace

import pytest

from ordersaga.as_set import WITHOUT_TIMER, definition_of, sagas_of, topic_specs, topics_of
from ordersaga.orchestrator.core.definition import Kind
from ordersaga.orchestrator.sagas.complete_order import COMPLETE_ORDER
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.settings import Settings
from ordersaga.wire.topics import Participant, Topics


def test_the_defaults_of_the_settings_are_the_saga_as_it_is_written() -> None:
    set_, written = asdict(definition_of(CREATE_ORDER, Settings())), asdict(CREATE_ORDER)
    kinds = set_.pop("kinds"), written.pop("kinds")
    assert set_ == written
    assert set(kinds[0].values()) == {Kind.BARE} and kinds[1] == {}


def test_every_participant_is_bare_until_it_is_set_to_be_full() -> None:
    definition = definition_of(CREATE_ORDER, Settings(participant_payment="full"))
    assert definition.kinds[Participant.PAYMENT] is Kind.FULL
    assert {kind for one, kind in definition.kinds.items() if one is not Participant.PAYMENT} == {Kind.BARE}


def test_patience_and_window_are_set_where_a_step_has_none_of_its_own() -> None:
    settings = Settings(
        step_timeout_seconds=2, step_attempts_max=5, undo_timeout_seconds=3, acceptance_window_seconds=60
    )
    definition = definition_of(CREATE_ORDER, settings)
    assert definition.window_seconds == 60
    create, timer = definition.step("CREATE_ORDER"), definition.step("START_TIMER")
    assert (create.patience.timeout_seconds, create.patience.attempts_max) == (2, 5)
    assert create.undo is not None
    assert create.undo.patience.timeout_seconds == 3
    assert timer.patience == CREATE_ORDER.step("START_TIMER").patience
    assert timer.undo is not None
    assert timer.undo.patience.attempts_max == 3


def test_steps_that_share_an_undo_go_on_sharing_it() -> None:
    definition = definition_of(CREATE_ORDER, Settings(undo_timeout_seconds=3))
    create, update = definition.step("CREATE_ORDER"), definition.step("UPDATE_ORDER_STATUS")
    assert create.undo is update.undo
    assert create.undo is definition.undo_order[0]
    assert definition.steps_undone_by(definition.undo_order[0]) == (create, update)


@pytest.mark.parametrize(("start_timer", "begins"), [(True, 1), (False, 1 + WITHOUT_TIMER)])
def test_a_saga_under_way_finds_its_version_whichever_way_the_timer_is_set(start_timer: bool, begins: int) -> None:
    sagas = sagas_of(Settings(start_timer=start_timer))
    assert sagas.newest("create_order").version == begins
    assert {one.version for one in sagas} == {1, 1 + WITHOUT_TIMER}


def test_without_the_timer_service_it_is_neither_asked_nor_taken_back() -> None:
    definition = sagas_of(Settings(start_timer=False)).newest("create_order")
    assert [step.name for step in definition.steps][-1] == "UPDATE_ORDER_STATUS"
    assert [undo.name for undo in definition.undo_order] == ["cancel_order", "revert_payment"]


def test_topics_are_named_by_the_settings() -> None:
    assert topics_of(Settings()) == Topics()
    settings = Settings(topic_order_events="shop.order_events", kafka_partitions=3)
    assert topics_of(settings).order_events == "shop.order_events"
    specs = {spec.name: spec.partitions for spec in topic_specs(settings)}
    assert specs["shop.order_events"] == 3
    assert len(specs) == len(Topics().all())


def test_orders_are_completed_where_the_payment_service_is_full_and_not_where_it_is_bare() -> None:
    assert not sagas_of(Settings()).knows("complete_order")
    sagas = sagas_of(Settings(participant_payment="full", step_timeout_seconds=3, undo_attempts_max=7))
    found = sagas.newest("complete_order")
    assert found.kinds[Participant.ORDER] is Kind.BARE
    mark, capture = found.step("MARK_DELIVERED"), found.step("CAPTURE_PAYMENT")
    assert mark.undo is not None
    assert (mark.patience.timeout_seconds, mark.undo.patience.attempts_max) == (3, 7)
    assert capture.patience == COMPLETE_ORDER.step("CAPTURE_PAYMENT").patience, "a patience of its own stays"


def test_a_saga_that_says_so_is_begun_with_full_participants_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a point of no return or without; the others are begun all the same."""
    careful = replace(CREATE_ORDER, name="careful", kinds={Participant.ORDER: Kind.FULL})
    pivotal = replace(COMPLETE_ORDER, name="pivotal")
    monkeypatch.setattr("ordersaga.as_set.EVERY", (CREATE_ORDER, careful, pivotal))
    assert {one.name for one in sagas_of(Settings())} == {"create_order"}
    assert {one.name for one in sagas_of(Settings(participant_order="full"))} == {"create_order", "careful"}
    sagas = sagas_of(Settings(participant_payment="full", start_timer=False))
    assert {one.name for one in sagas} == {"create_order", "pivotal"}
    assert sagas.newest("pivotal").version == COMPLETE_ORDER.version


@pytest.mark.parametrize("start_timer", [True, False])
def test_of_several_versions_the_newest_begins_though_an_older_one_has_a_timer_to_leave_out(
    monkeypatch: pytest.MonkeyPatch, start_timer: bool
) -> None:
    steps, undos = CREATE_ORDER.steps[:-1], CREATE_ORDER.undo_order[:-1]
    second = replace(CREATE_ORDER, version=2, steps=steps, undo_order=undos)
    monkeypatch.setattr("ordersaga.as_set.EVERY", (second, CREATE_ORDER))
    sagas = sagas_of(Settings(start_timer=start_timer))
    assert sagas.newest("create_order").version == 2
    assert {one.version for one in sagas} == {1, 1 + WITHOUT_TIMER, 2}
