"""Sagas at a terminal, while no service runs: listed, shown as a timeline, and stepped in."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from ordersaga.orchestrator.core.instance import Status
from ordersaga.wire import messages as m
from tests.cli.test_cli import ordersaga
from tests.runtime.stage import Stage, new_saga_id, opened


@pytest.fixture
def stage(database_url: str) -> Iterator[Stage]:
    with opened(database_url) as found:
        yield found


@pytest.fixture
def saga_id(stage: Stage) -> UUID:
    """One that waits for its payment."""
    found = stage.begin()
    card = m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1")
    for event in (m.OrderCreated(order_id="o-1"), m.PaymentInfoRetrieved(payment_info=card)):
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
    code, _, error = sagas(database_url, "list", "--status", "LOST")
    assert code == 2 and "LOST is none of" in error


def test_one_is_shown_with_its_steps_what_it_waits_for_and_a_timeline(database_url: str, saga_id: UUID) -> None:
    code, shown, _ = sagas(database_url, "show", saga_id)
    assert code == 0
    assert "AUTHORIZE_PAYMENT    under way  asked 1 times" in shown
    assert "waits for answer of AUTHORIZE_PAYMENT until" in shown
    assert "order.created  STARTED  sent get_payment_info" in shown
    assert "customer-of-the-test" not in shown, "nothing personal"


def test_an_operator_steps_in_with_a_name_and_a_reason(database_url: str, stage: Stage, saga_id: UUID) -> None:
    code, told, _ = sagas(database_url, "cancel", saga_id, "--who", "night", "--why", "the shop has closed")
    assert code == 0 and "CANCELLING" in told and "OPERATOR_REQUEST" in told
    assert stage.get(saga_id).status is Status.CANCELLING
    assert stage.one("select count(*) from outbox where topic = 'order_commands'") == 2, "it goes out"
    assert "verb.cancel by night: the shop has closed" in sagas(database_url, "show", saga_id)[1]
    assert sagas(database_url, "retry", saga_id, "--why", "now")[0] == 0
    assert sagas(database_url, "settle", saga_id, "--undo", "cancel_order", "--why", "by hand")[0] == 0
    assert sagas(database_url, "resolve", saga_id, "--who", "night", "--why", "seen")[1].rstrip().endswith("resolved")


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
