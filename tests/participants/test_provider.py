"""What a payment provider promises, held against the sandbox and against its double in memory."""

from collections.abc import Iterator

import pytest

from ordersaga.participants.payment.provider import (
    Authorized,
    Capture,
    Captured,
    Declined,
    GiveUp,
    Hold,
    Provider,
    SandboxProvider,
    TakeBack,
    TakenBack,
    Unanswered,
)
from ordersaga.participants.payment.provider_memory import MemoryProvider
from ordersaga.wire.topics import Participant
from tests.participants.stage import hosted


@pytest.fixture(params=["sandbox", "memory"])
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    if request.param == "memory":
        yield MemoryProvider()
        return
    with hosted(Participant.PAYMENT, request.getfixturevalue("database_url")) as service:
        yield SandboxProvider(service.ledger._pool)


def _hold(key: str, card: str = "pm_card_visa") -> Hold:
    return Hold(idempotency_key=key, amount_cents=1020, payment_method_id=card)


def _intent(provider: Provider, key: str = "k") -> str:
    outcome = provider.hold([_hold(key)])[key]
    assert isinstance(outcome, Authorized)
    return outcome.intent_id


def test_the_same_key_has_one_outcome(provider: Provider) -> None:
    first = provider.hold([_hold("a"), _hold("b"), _hold("c", "pm_card_chargeDeclined")])
    assert provider.hold([_hold("b"), _hold("a")]) == {key: first[key] for key in ("a", "b")}
    assert first["a"] != first["b"]
    assert provider.hold([_hold("c")])["c"] == Declined("card_declined"), "another card changes nothing"


@pytest.mark.parametrize(
    ("card", "code"),
    [("pm_card_chargeDeclined", "card_declined"), ("pm_card_insufficientFunds", "insufficient_funds")],
)
def test_a_test_card_is_declined_with_its_code(provider: Provider, card: str, code: str) -> None:
    assert provider.hold([_hold("a", card)])["a"] == Declined(code)


def test_a_hold_is_let_go_and_captured_money_is_refunded(provider: Provider) -> None:
    held, captured = _intent(provider, "held"), _intent(provider, "captured")
    assert provider.capture([Capture(intent_id=captured)]) == {captured: Captured()}
    both = [TakeBack(intent_id=held), TakeBack(intent_id=captured)]
    assert provider.take_back(both) == {held: TakenBack(refunded=False), captured: TakenBack(refunded=True)}
    assert provider.take_back(both) == provider.take_back(both), "once is as good as twice"


def test_what_was_let_go_cannot_be_captured(provider: Provider) -> None:
    intent_id = _intent(provider)
    provider.take_back([TakeBack(intent_id=intent_id)])
    assert provider.capture([Capture(intent_id=intent_id)]) == {}


def test_an_intent_that_nobody_made_is_missing_in_the_answer(provider: Provider) -> None:
    assert provider.take_back([TakeBack(intent_id="pi_nobody")]) == {}
    assert provider.capture([Capture(intent_id="pi_nobody")]) == {}


def test_a_key_that_is_given_up_lets_its_hold_go(provider: Provider) -> None:
    intent_id = _intent(provider)
    provider.give_up([GiveUp(idempotency_key="k", but_not_intent_id=None)])
    assert provider.capture([Capture(intent_id=intent_id)]) == {}, "nothing is held any more"


def test_a_key_that_was_given_up_before_its_use_never_holds(provider: Provider) -> None:
    provider.give_up([GiveUp(idempotency_key="k", but_not_intent_id=None)])
    assert provider.hold([_hold("k")])["k"] == Declined("canceled")


def test_a_key_is_given_up_but_for_the_hold_that_became_the_payment(provider: Provider) -> None:
    intent_id = _intent(provider)
    provider.give_up([GiveUp(idempotency_key="k", but_not_intent_id=intent_id)])
    assert provider.capture([Capture(intent_id=intent_id)]) == {intent_id: Captured()}


def test_a_silent_provider_holds_the_money_and_says_nothing(provider: Provider) -> None:
    for card in ("pm_card_timeout", "pm_card_late"):
        assert provider.hold([_hold(card, card)])[card] == Unanswered()
        provider.give_up([GiveUp(idempotency_key=card, but_not_intent_id=None)])


def test_one_card_is_told_of_twice(provider: Provider) -> None:
    outcome = provider.hold([_hold("a", "pm_card_twice")])["a"]
    assert isinstance(outcome, Authorized)
    assert outcome.twice
