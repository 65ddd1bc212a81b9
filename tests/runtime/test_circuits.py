"""A participant that answers nobody is noticed, its steps are held, and one now and then is let through."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ordersaga.delivery.outbox_memory import MemoryTable
from ordersaga.orchestrator.runtime.admission import Admission, AdmissionLimits
from ordersaga.orchestrator.runtime.bulletin import Bulletin
from ordersaga.orchestrator.runtime.circuits import DEAF_SECONDS, PROBE_MOST_SECONDS, QUIET_SECONDS, AsPosted, Circuits
from ordersaga.orchestrator.store.board_memory import MemoryBoard
from ordersaga.orchestrator.store.board_protocol import Board, Silence
from ordersaga.orchestrator.store.memory_tables import MemoryTables
from ordersaga.orchestrator.store.protocol import StoreUnavailable
from ordersaga.wire.topics import Participant

PAYMENT, ORDER = Participant.PAYMENT, Participant.ORDER
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Watch:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def circuits(silences_max: int = 3) -> tuple[Circuits, Watch]:
    """Of a process that has been up for a while."""
    watch = Watch()
    found = Circuits(silences_max=silences_max, seconds=watch)
    watch.seconds += DEAF_SECONDS
    return found, watch


def board() -> MemoryBoard:
    return MemoryBoard(MemoryTables(outbox=MemoryTable()))


def read(found: Circuits, on: Board) -> None:
    """One turn of the bulletin, without its pause."""
    silent, answered = found.take_news()
    if silent or answered:
        on.tell(silent, answered)
    found.learn(on.read(10).silences)


def test_enough_silences_in_a_row_open_it_and_any_answer_closes_it() -> None:
    found, _ = circuits()
    found.heard((), {PAYMENT: 2})
    assert found.shut() == set()
    found.heard((), {PAYMENT: 1})
    assert found.shut() == {PAYMENT}
    assert "payment has not answered 3 commands" in found.health().detail and found.health().healthy
    found.heard({PAYMENT}, {})
    assert found.shut() == set() and found.health().detail == ""


def test_who_was_heard_of_a_moment_ago_is_there_however_many_commands_were_not_answered() -> None:
    found, watch = circuits()
    found.heard({PAYMENT}, {})
    watch.seconds += QUIET_SECONDS - 0.1
    found.heard({ORDER}, {PAYMENT: 30})
    assert found.shut() == set()
    watch.seconds += 0.1
    found.learn({})
    found.heard({ORDER}, {PAYMENT: 3})
    assert found.shut() == {PAYMENT}


def test_where_nobody_is_heard_of_it_may_be_we_who_do_not_hear() -> None:
    found, watch = circuits()
    found.heard({ORDER, PAYMENT}, {})
    watch.seconds += QUIET_SECONDS
    found.heard((), {PAYMENT: 30, ORDER: 30})
    assert found.shut() == set()
    watch.seconds += DEAF_SECONDS - QUIET_SECONDS - 0.1
    found.heard((), {PAYMENT: 30})
    assert found.shut() == set()
    watch.seconds += 0.1
    found.heard((), {PAYMENT: 1})
    assert found.shut() == {PAYMENT, ORDER}


def test_a_process_that_has_just_begun_hears_nobody_yet() -> None:
    watch = Watch()
    found = Circuits(silences_max=3, seconds=watch)
    found.heard((), {PAYMENT: 3})
    assert found.shut() == set()


def test_where_others_are_heard_of_all_the_time_it_is_who_does_not_answer() -> None:
    found, watch = circuits()
    found.heard({ORDER, PAYMENT}, {})
    watch.seconds += QUIET_SECONDS - 1
    found.heard({ORDER}, {PAYMENT: 30})
    assert found.shut() == set()
    watch.seconds += 1
    found.heard({ORDER}, {PAYMENT: 1})
    assert found.shut() == {PAYMENT}


def test_while_what_was_said_meanwhile_is_only_being_read_nobody_is_blamed() -> None:
    """The order service's answers come first, those of the payment service a moment later."""
    found, watch = circuits()
    found.heard({ORDER, PAYMENT}, {})
    watch.seconds += DEAF_SECONDS - 5
    found.heard((), {PAYMENT: 30, ORDER: 30})
    watch.seconds += 1
    found.heard({ORDER}, {})
    assert found.shut() == set()
    watch.seconds += QUIET_SECONDS - 0.1
    found.heard({PAYMENT}, {})
    found.heard((), {PAYMENT: 30})
    assert found.shut() == set()


def test_where_little_is_said_a_silence_that_lasts_is_enough() -> None:
    found, watch = circuits()
    found.heard({ORDER, PAYMENT}, {})
    for _ in range(3):
        watch.seconds += DEAF_SECONDS - 5
        found.heard({ORDER}, {PAYMENT: 2})
    assert found.shut() == {PAYMENT}


def test_what_was_sent_before_this_process_says_nothing_of_who_did_not_answer() -> None:
    found, _ = circuits()
    assert not found.was_there(NOON)
    found.looks_on(NOON)
    found.looks_on(NOON + timedelta(hours=1))
    assert not found.was_there(NOON - timedelta(seconds=1))
    assert found.was_there(NOON)


def test_an_answer_between_begins_the_count_anew() -> None:
    found, _ = circuits()
    for _ in range(5):
        found.heard((), {PAYMENT: 2})
        found.heard({PAYMENT}, {})
    assert found.shut() == set()


def test_others_are_not_concerned() -> None:
    found, _ = circuits()
    found.heard((), {PAYMENT: 3})
    found.heard({ORDER}, {})
    assert found.shut() == {PAYMENT}


def test_one_step_is_let_through_now_and_then_and_less_often_if_it_is_not_answered() -> None:
    found, watch = circuits()
    found.heard((), {PAYMENT: 3})
    passed = []
    for second in range(300):
        watch.seconds = 100.0 + DEAF_SECONDS + second
        if not found.shut():
            passed.append(second)
            found.asked(PAYMENT)
            assert found.shut() == {PAYMENT}, "one, and no more"
    assert passed[:4] == [5, 10, 20, 40]
    assert max(later - sooner for sooner, later in pairwise(passed)) == PROBE_MOST_SECONDS


def test_what_is_asked_of_one_that_answers_changes_nothing() -> None:
    found, _ = circuits()
    found.asked(PAYMENT)
    assert found.shut() == set()


def test_it_can_be_turned_off() -> None:
    found, _ = circuits(silences_max=0)
    found.heard((), {PAYMENT: 1000})
    assert found.shut() == set()


def test_processes_sum_their_silences_and_one_answer_closes_it_for_all() -> None:
    (here, _), (there, _), shared = circuits(), circuits(), board()
    here.heard((), {PAYMENT: 1})
    there.heard((), {PAYMENT: 2})
    for found in (here, there, here):
        read(found, shared)
    assert here.shut() == there.shut() == {PAYMENT}
    there.heard({PAYMENT}, {})
    read(there, shared)
    read(here, shared)
    assert here.shut() == there.shut() == set()


def test_silences_after_an_answer_are_told_as_such() -> None:
    (here, _), shared = circuits(), board()
    shared.tell({PAYMENT: 2}, ())
    read(here, shared)
    here.heard({PAYMENT}, {})
    here.heard((), {PAYMENT: 1})
    read(here, shared)
    assert shared.read(10).silences[PAYMENT].commands == 1 and here.shut() == set()


def test_what_could_not_be_told_is_told_later() -> None:
    found, _ = circuits()

    class Away(MemoryBoard):
        away = True

        def tell(self, *news: object) -> None:
            if self.away:
                raise StoreUnavailable("away")
            super().tell(*news)  # type: ignore[arg-type]

    shared = Away(MemoryTables(outbox=MemoryTable()))
    bulletin = Bulletin(shared, found, Admission(AdmissionLimits()), every_seconds=0.0)
    found.heard((), {PAYMENT: 2})
    for _ in range(2):
        try:
            bulletin.turn()
        except StoreUnavailable:
            continue
    shared.away = False
    bulletin.turn()
    assert shared.read(10).silences[PAYMENT].commands == 2


def test_one_that_is_not_answered_here_may_have_answered_elsewhere_meanwhile() -> None:
    found, _ = circuits()
    found.learn({PAYMENT: Silence(commands=7, since=NOON)})
    assert found.shut() == {PAYMENT} and "since 2026-01-02 12:00:00 UTC" in found.health().detail
    found.learn({})
    assert found.shut() == set()


def test_a_command_goes_by_what_the_board_says_and_looks_again_where_it_takes_long() -> None:
    shared = board()
    found = AsPosted(lambda: shared.read(0).silences, silences_max=3)
    shared.tell({PAYMENT: 3, ORDER: 2}, ())
    found.looks_on(NOON)
    assert found.shut() == {PAYMENT}
    found.asked(PAYMENT)
    shared.tell({ORDER: 1}, {PAYMENT})
    found.looks_on(NOON + timedelta(seconds=0.5))
    assert found.shut() == {PAYMENT}, "so soon it is not read again"
    found.looks_on(NOON + timedelta(seconds=1))
    assert found.shut() == {ORDER}


def test_a_command_holds_nothing_where_circuits_are_turned_off() -> None:
    shared = board()
    shared.tell({PAYMENT: 1000}, ())
    found = AsPosted(lambda: shared.read(0).silences, silences_max=0)
    found.looks_on(NOON)
    assert found.shut() == set()
