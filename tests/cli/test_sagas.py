"""Sagas at a terminal, while no service runs: listed, shown as a timeline, and stepped in."""

import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import NoReturn
from uuid import UUID

import pytest
import typer
from typer.testing import CliRunner

from ordersaga import bootstrap_commands
from ordersaga.cli import app
from ordersaga.orchestrator.core.inputs import CancelAsked
from ordersaga.orchestrator.core.instance import Requested, Status
from ordersaga.orchestrator.core.reasons import Reason
from ordersaga.orchestrator.runtime.circuits import AlwaysOpen
from ordersaga.orchestrator.runtime.counting import Counting
from ordersaga.orchestrator.runtime.handle import Handler
from ordersaga.orchestrator.runtime.sagas import Sagas
from ordersaga.orchestrator.runtime.verbs import Actor
from ordersaga.orchestrator.sagas.create_order import CREATE_ORDER
from ordersaga.orchestrator.store.board import PostgresBoard
from ordersaga.orchestrator.store.protocol import NOT_RUN_HERE, CommitUnknown, SagaPage
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.canaries import CUSTOMER
from tests.cli.test_cli import ordersaga
from tests.runtime.stage import TOPICS, Stage, new_saga_id, opened
from tests.store.sagas import saga

CARD = m.PaymentInfo(stripe_customer_id="cus_c4n4ry", payment_method_id="pm_c4n4ry")
NOWHERE = "postgresql://nobody@nowhere/x"


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with opened(database_url) as found:
        yield found


@pytest.fixture
def saga_id(stage: Stage) -> UUID:
    """One that waits for its payment."""
    found = stage.begin()
    for event in (m.OrderCreated(order_id="o-1"), m.PaymentInfoRetrieved(payment_info=CARD)):
        stage.handler.records([stage.answer(found, event)])
    return found


def sagas(database_url: str, *arguments: object) -> tuple[int, str, str]:
    done = ordersaga("sagas", *map(str, arguments), DATABASE_URL=database_url)
    return done.returncode, done.stdout, done.stderr


def test_sagas_are_listed_newest_first_by_status(database_url: str, stage: Stage, saga_id: UUID) -> None:
    newer = stage.begin()
    _, listed, _ = sagas(database_url, "list")
    assert [line.split()[0] for line in listed.splitlines()] == [str(newer), str(saga_id)]
    assert sagas(database_url, "list", "--status", "FAILED") == (0, "none\n", "")
    assert sagas(database_url, "list", "--saga", "complete_order") == (0, "none\n", "")
    assert sagas(database_url, "list", "--saga", "create_order")[1] == listed
    code, _, error = sagas(database_url, "list", "--status", "LOST")
    assert code == 2 and "must be one of STARTED" in error and "not 'LOST'" in error


def test_sagas_are_searched_for_page_after_page(database_url: str, stage: Stage, saga_id: UUID) -> None:
    newer = stage.begin()
    code, listed, told = sagas(database_url, "list", "--most", "1", "--oldest")
    assert (code, listed.split()[0]) == (0, str(saga_id))
    assert "2 in all" in told and told.split("--after ")[1].strip() == str(saga_id)
    _, rest, told = sagas(database_url, "list", "--most", "1", "--oldest", "--after", saga_id)
    assert (rest.split()[0], told) == (str(newer), "")
    # Whoever is named as an argument is in the list of processes, where the tests look for customers.
    stage.execute("update saga_personal set customer_id = 'somebody' where saga_id = %s", saga_id)
    wanted = ["--step", "AUTHORIZE_PAYMENT", "--customer", "somebody", "--since", "2026-01-01T00:00:00Z"]
    assert sagas(database_url, "list", *wanted)[1].split()[0] == str(saga_id)
    assert sagas(database_url, "list", *wanted, "--attention")[1] == "none\n"
    code, _, error = sagas(database_url, "list", "--since", "yesterday")
    assert code == 2 and "--since" in error


def test_sagas_are_exported_as_lines_of_json(database_url: str, stage: Stage, saga_id: UUID) -> None:
    newer = stage.begin()
    code, exported, told = sagas(database_url, "export", "--status", "STARTED")
    found = [json.loads(line) for line in exported.splitlines()]
    assert (code, [one["id"] for one in found], told) == (0, [str(newer), str(saga_id)], "2 sagas\n")
    assert found[1]["current_step"] == "AUTHORIZE_PAYMENT"
    assert found[1]["customer_id"] == CUSTOMER and "foodItems" not in exported


def test_one_is_watched_until_nothing_is_under_way(database_url: str, stage: Stage, saga_id: UUID) -> None:
    ids = {"payment_id": "p-1", "order_id": "o-1", "payment_intent_id": "pi-1"}
    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(sagas, database_url, "watch", saga_id, "--every", "0.1")
        for event in (
            m.PaymentAuthorized(status="AUTHORIZED", **ids),
            m.OrderStatusUpdated(order_id="o-1", status="CREATED"),
            m.TimerStarted(order_id="o-1"),
        ):
            stage.handler.records([stage.answer(saga_id, event)])
        code, told, _ = watching.result(30)
    lines = told.splitlines()
    assert code == 0 and [line.split()[0] for line in lines[:6]] == ["1", "2", "3", "4", "5", "6"]
    assert "timer.started" in lines[5] and "COMPLETED" in lines[7]


def test_one_is_shown_with_its_steps_what_it_waits_for_and_a_timeline(database_url: str, saga_id: UUID) -> None:
    code, shown, _ = sagas(database_url, "show", saga_id)
    assert code == 0
    assert "AUTHORIZE_PAYMENT    under way  asked 1 times" in shown
    assert "waits for answer of AUTHORIZE_PAYMENT until" in shown
    assert "order.created  STARTED  sent get_payment_info" in shown
    assert CUSTOMER not in shown, "nothing personal"


def test_an_operator_steps_in_with_a_name_and_a_reason(database_url: str, stage: Stage, saga_id: UUID) -> None:
    code, told, _ = sagas(database_url, "cancel", saga_id, "--who", "night", "--why", "the shop has closed")
    assert code == 0 and "CANCELLING" in told and "OPERATOR_REQUEST" in told
    assert stage.get(saga_id).status is Status.CANCELLING
    assert stage.one("select count(*) from outbox where topic = 'order_commands'") == 2, "it goes out"
    assert "verb.cancel by night: the shop has closed" in sagas(database_url, "show", saga_id)[1]
    assert sagas(database_url, "retry", saga_id, "--why", "now")[0] == 0
    assert sagas(database_url, "settle", saga_id, "--undo", "cancel_order", "--why", "by hand")[0] == 0
    assert sagas(database_url, "resolve", saga_id, "--who", "night", "--why", "seen")[1].rstrip().endswith("resolved")


def test_where_there_is_nothing_to_do_it_says_so(database_url: str, saga_id: UUID) -> None:
    first = sagas(database_url, "cancel", saga_id, "--why", "x")
    assert first[0] == 0 and "nothing to do" not in first[2]
    again = sagas(database_url, "cancel", saga_id, "--why", "x")
    assert again[0] == 0 and "ordersaga: there was nothing to do: " in again[2]


def test_what_cannot_be_done_is_told_in_a_line(database_url: str, saga_id: UUID) -> None:
    code, _, error = sagas(database_url, "settle", saga_id, "--undo", "eat_it", "--why", "x")
    assert (code, error) == (
        1,
        "ordersaga: this cannot be done: this saga undoes by cancel_order, revert_payment, cancel_timer\n",
    )
    nobody = new_saga_id()
    for verb in (("show",), ("retry", "--why", "x")):
        assert sagas(database_url, verb[0], nobody, *verb[1:])[::2] == (1, f"ordersaga: there is no saga {nobody}\n")
    assert sagas(database_url, "show", "nonsense")[0] == 2


def test_a_saga_that_only_a_newer_version_knows_is_not_said_to_be_missing(
    database_url: str, stage: Stage, saga_id: UUID
) -> None:
    stage.execute("update sagas set version = 99")
    told = f"ordersaga: the saga {saga_id} is {NOT_RUN_HERE}\n"
    for verb in (["show"], ["watch"], ["cancel", "--why", "x"]):
        assert sagas(database_url, verb[0], saga_id, *verb[1:]) == (1, "", told)


def the_only_one_is(database_url: str, saga_id: UUID, told: str) -> None:
    """Of those that are found; `told` is of the others."""
    code, listed, said = sagas(database_url, "list")
    assert (code, first_words(listed), said) == (0, [str(saga_id)], told)
    code, exported, said = sagas(database_url, "export")
    assert (code, len(exported.splitlines()), said) == (0, 1, "1 sagas\n" + told)
    code, chosen, said = sagas(database_url, "resolve", "--status", "STARTED", "--dry-run", "--why", "x")
    assert (code, first_words(chosen), said) == (0, [str(saga_id)], "resolve: it would be 1 sagas\n" + told)


def test_sagas_that_only_a_newer_version_knows_are_left_out_and_counted(
    database_url: str, stage: Stage, saga_id: UUID
) -> None:
    newer = [stage.begin(), stage.begin()]
    stage.execute("update sagas set version = 99 where id = any(%s)", newer)
    told = f"2 more are {NOT_RUN_HERE}\n"
    the_only_one_is(database_url, saga_id, told)
    code, done, said = sagas(database_url, "resolve", "--status", "STARTED", "--yes", "--why", "x")
    assert (code, len(done.splitlines()), said) == (0, 1, told + "resolve: 1 done\n")


def test_a_saga_whose_row_is_damaged_is_named_and_hides_no_other(
    database_url: str, stage: Stage, saga_id: UUID
) -> None:
    damaged = stage.begin()
    stage.execute("update sagas set state = '{}' where id = %s", damaged)
    told = f"{damaged} is not among them: its row is damaged (ordersaga sagas show says how)\n"
    the_only_one_is(database_url, saga_id, told)
    code, done, said = sagas(database_url, "retry", "--status", "STARTED", "--yes", "--why", "x")
    assert (len(done.splitlines()), said.startswith(told)) == (1, True)
    for verb in (["show"], ["watch"], ["cancel", "--why", "x"]):
        code, out, said = sagas(database_url, verb[0], damaged, *verb[1:])
        assert (code, out, len(said.splitlines())) == (1, "", 1)
        assert said.startswith(f"ordersaga: the row of the saga {damaged} is damaged: ")


def test_one_in_the_archive_that_is_damaged_is_named_and_hides_no_other(database_url: str, stage: Stage) -> None:
    ended = [stage.begin() for _ in range(4)]
    stage.handler.records([stage.answer(one, m.OrderCreationFailed(error="NO")) for one in ended])
    stage.grow_old()
    ordersaga("archive", "run", "--older-than-days", "0", DATABASE_URL=database_url)
    stage.execute("update archive set state = 'rubbish' where saga_id = %s", ended[0])
    stage.execute("update archive set state = %s where saga_id = %s", zlib.compress(b'{"id": 1}'), ended[1])
    stage.execute("update archive set state = %s where saga_id = %s", zlib.compress(b'{"state": {}}'), ended[2])
    code, listed, said = sagas(database_url, "list", "--archived")
    assert (code, first_words(listed)) == (0, [str(ended[3])])
    assert sorted(first_words(said)) == sorted(map(str, ended[:3]))
    for one in ended[:3]:
        code, out, said = sagas(database_url, "show", one)
        assert (code, out, len(said.splitlines())) == (1, "", 1)
        assert said.startswith(f"ordersaga: the row of the saga {one} is damaged: ")


def test_those_in_the_archive_are_listed_if_asked_and_shown_with_their_timeline(
    database_url: str, stage: Stage, saga_id: UUID
) -> None:
    ended = stage.begin()
    stage.handler.records([stage.answer(ended, m.OrderCreationFailed(error="NO"))])
    stage.grow_old()
    ordersaga("archive", "run", "--older-than-days", "0", DATABASE_URL=database_url)
    assert [line.split()[0] for line in sagas(database_url, "list")[1].splitlines()] == [str(saga_id)]
    archived = sagas(database_url, "list", "--archived", "--reason", "ORDER_REJECTED")[1]
    assert [line.split()[0] for line in archived.splitlines()] == [str(ended)]
    _, exported, _ = sagas(database_url, "export", "--archived")
    assert json.loads(exported)["id"] == str(ended)
    _, shown, _ = sagas(database_url, "show", str(ended))
    assert "order.creation_failed" in shown and "COMPENSATED" in shown


def test_what_strangers_wrote_does_not_command_the_terminal(database_url: str, stage: Stage, saga_id: UUID) -> None:
    why = "\x1b[2J\x1b]0;owned\x07\r\nforged line"
    assert sagas(database_url, "cancel", saga_id, "--who", "ada\x1b[31m", "--why", why)[0] == 0
    audit = ordersaga("audit", DATABASE_URL=database_url).stdout
    for text in (sagas(database_url, "show", saga_id)[1], audit):
        assert all(line.isprintable() for line in text.splitlines())
        assert "\\x1b[2J" in text and not any(line.startswith("forged") for line in text.splitlines())


# --- many at once ---------------------------------------------------------------------------------


def going_back(stage: Stage, number: int) -> UUID:
    """One whose order is being cancelled."""
    found = stage.begin()
    stage.handler.records([stage.answer(found, m.OrderCreated(order_id=f"o-{number}"))])
    wish = Requested(actor="night", role="operator", reason=Reason.OPERATOR_REQUEST, why="an outage")
    stage.handler.ask(found, CancelAsked(wish), "verb.cancel", {})
    return found


def first_words(told: str) -> list[str]:
    return [line.split()[0] for line in told.splitlines()]


def test_all_that_meet_the_conditions_are_retried_oldest_first_and_one_that_is_refused_holds_up_no_other(
    database_url: str, stage: Stage
) -> None:
    older, refused, newer = going_back(stage, 1), stage.begin(), going_back(stage, 2)
    before = [stage.get(one).revision for one in (older, refused, newer)]
    many = ("retry", "--saga", "create_order", "--who", "night", "--why", "it is back")
    code, told, said = sagas(database_url, *many, "--yes")
    lines = [line.split() for line in told.splitlines()]
    assert [line[:2] for line in lines] == [["1/3", str(older)], ["2/3", str(refused)], ["3/3", str(newer)]]
    assert "this cannot be done: it may be done twice" in told.splitlines()[1]
    assert (code, said) == (1, "retry: 2 done, 1 refused\n")
    assert [stage.get(one).revision for one in (older, refused, newer)] == [before[0] + 1, before[1], before[2] + 1]
    audit = ordersaga("audit", DATABASE_URL=database_url).stdout
    assert audit.count("by night (operator): it is back: applied") == 2 and audit.count("it is back: refused") == 1
    assert sagas(database_url, *many, "--status", "CANCELLING", "--yes")[::2] == (0, "retry: 2 done\n")


def test_a_dry_run_says_which_it_would_be_and_does_nothing(database_url: str, stage: Stage) -> None:
    older, newer, seen_to = (going_back(stage, number) for number in range(3))
    sagas(database_url, "resolve", seen_to, "--why", "seen")
    which = ("--status", "CANCELLING", "--why", "x")
    code, told, said = sagas(database_url, "retry", *which, "--dry-run")
    assert (code, first_words(told), said) == (0, [str(older), str(newer)], "retry: it would be 2 sagas\n")
    code, _, said = sagas(database_url, "retry", *which)
    assert code == 1 and "retry 2 sagas?" in said, "nobody answers"
    assert stage.one("select count(*) from audit") == 1, "the one that was resolved by itself"


def test_so_many_are_resolved_as_one_says_and_those_that_are_wait_for_no_other(database_url: str, stage: Stage) -> None:
    older, newer = going_back(stage, 1), going_back(stage, 2)
    some = ("resolve", "--status", "CANCELLING", "--limit", "1", "--yes", "--why", "seen")
    for one in (older, newer):
        code, told, said = sagas(database_url, *some)
        assert (code, told.split()[:2], said) == (0, ["1/1", str(one)], "resolve: 1 done\n")
    assert sagas(database_url, *some) == (0, "", "resolve: none\n")


@pytest.mark.parametrize("verb", ["retry", "resolve"])
def test_what_has_changed_while_the_question_waited_is_not_done_with_what_was_known_then(
    monkeypatch: pytest.MonkeyPatch, database_url: str, stage: Stage, verb: str
) -> None:
    changed, alike = going_back(stage, 1), going_back(stage, 2)

    def answered_late(question: str, **_: bool) -> bool:
        stage.handler.records([stage.answer(changed, m.OrderCancellationFailed(error="DATABASE_ERROR"))])
        return True

    before = stage.get(changed).revision
    monkeypatch.setattr(typer, "confirm", answered_late)
    many = ["sagas", verb, "--status", "CANCELLING", "--who", "night", "--why", "seen"]
    done = CliRunner().invoke(app, many, env={"DATABASE_URL": database_url})
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"1/2  {changed}") and lines[0].endswith("  not done: it has changed since")
    assert lines[1].startswith(f"2/2  {alike}") and "not done" not in lines[1]
    assert (done.exit_code, done.stderr) == (1, f"{verb}: 1 refused, 1 done\n")
    found = stage.get(changed)
    assert (found.revision, found.resolved) == (before + 1, None)
    audit = ordersaga("audit", DATABASE_URL=database_url).stdout
    assert f"{verb} {changed} by night (operator): seen: refused it has changed since" in audit


class PaymentIsSilent(AlwaysOpen):
    def shut(self) -> frozenset[Participant]:
        return frozenset({Participant.PAYMENT})


@pytest.mark.parametrize("which", ["one", "many"])
def test_what_is_held_is_not_asked_of_a_service_that_answers_nobody_by_hand_neither(
    database_url: str, stage: Stage, which: str
) -> None:
    held, board = stage.begin(), PostgresBoard(stage.pool)
    handler = Handler(
        stage.store, stage.sagas, stage.sent.extend, topics=TOPICS, counting=Counting(), gate=PaymentIsSilent()
    )
    for event in (m.OrderCreated(order_id="o-1"), m.PaymentInfoRetrieved(payment_info=CARD)):
        handler.records([stage.answer(held, event)])
    board.tell({Participant.PAYMENT: 5}, ())
    retry = ("retry", held) if which == "one" else ("retry", "--status", "STARTED", "--yes")
    code, told, said = sagas(database_url, *retry, "--why", "it is back")
    assert code == 1 and "it is held until the payment service answers" in told + said
    sent = "select count(*) from outbox where topic = 'payment_commands'"
    assert (stage.one(sent), stage.get(held).outstanding) == (0, None)
    board.tell({}, {Participant.PAYMENT})
    assert sagas(database_url, *retry, "--why", "it is back")[0] == 0
    assert stage.one(sent) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say which"),
        ((new_saga_id(), "--status", "FAILED"), "say which"),
        ((new_saga_id(), "--dry-run"), "go with conditions"),
        (("--status", "LOST"), "--status"),
        (("--since", "nine"), "--since"),
    ],
)
def test_one_says_which_are_meant(arguments: tuple[object, ...], said: str) -> None:
    for verb in ("retry", "resolve"):
        code, told, error = sagas(NOWHERE, verb, *arguments, "--yes", "--why", "x")
        assert (code, told) == (2, "") and said in error


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_where_the_answer_to_a_commit_was_lost_nothing_is_said_to_be_unchanged(
    monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    def lost(saga_id: UUID, by: Actor, *, revision: int | None = None) -> NoReturn:
        raise CommitUnknown("the answer to COMMIT was lost")

    one = saga()
    which = ["--status", "FAILED", "--yes"] if many else [str(one.saga_id)]
    page = SagaPage(instances=[one], next_after=None)
    built = SimpleNamespace(page=lambda *_, **__: page), Sagas([CREATE_ORDER]), SimpleNamespace(retry=lost)
    monkeypatch.setattr(bootstrap_commands, "at_a_terminal", lambda settings: built)
    done = CliRunner().invoke(app, ["sagas", "retry", *which, "--why", "x"], env={"DATABASE_URL": NOWHERE})
    assert done.exit_code == 1
    assert f"`ordersaga sagas show {one.saga_id}` says whether it was done" in done.output
