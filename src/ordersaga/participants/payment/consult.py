"""Asks the provider for a whole batch, before the answers are decided: each kind of wish together.

Nothing that the provider has done is lost by a crash: the same commands bring the same wishes, and those the same
outcomes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from ordersaga.delivery.failpoints import declare, hit
from ordersaga.participants.payment.provider import Capture, GiveUp, Hold, PayOut, Provider, TakeBack
from ordersaga.participants.payment.rows import PaymentRow
from ordersaga.participants.payment.service import wish
from ordersaga.participants.service import Asked

BEFORE_PROVIDER = declare("payment.before_provider", "It is known what to ask of the provider, nothing is asked.")
AFTER_PROVIDER = declare(
    "payment.after_provider", "The provider has held or released money, nothing is recorded of it."
)
_Wish = TypeVar("_Wish", Hold, Capture, TakeBack, GiveUp, PayOut)


class ConsultProvider:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __call__(self, wanted: Sequence[tuple[PaymentRow | None, Asked]]) -> Mapping[UUID, Any]:
        found = ((one.message_id, wish(row, one)) for row, one in wanted)
        wishes = {message_id: what for message_id, what in found if what is not None}
        if not wishes:
            return {}
        hit(BEFORE_PROVIDER)
        outcomes: dict[UUID, Any] = {}
        if holds := _of(Hold, wishes):
            held = self._provider.hold(list(holds.values()))
            outcomes |= {message_id: held[hold.idempotency_key] for message_id, hold in holds.items()}
        if captures := _of(Capture, wishes):
            captured = self._provider.capture(list(captures.values()))
            outcomes |= {message_id: captured.get(one.intent_id) for message_id, one in captures.items()}
        if take_backs := _of(TakeBack, wishes):
            taken = self._provider.take_back(list(take_backs.values()))
            outcomes |= {message_id: taken.get(one.intent_id) for message_id, one in take_backs.items()}
        if give_ups := _of(GiveUp, wishes):
            self._provider.give_up(list(give_ups.values()))
        if payouts := _of(PayOut, wishes):
            paid = self._provider.pay_out(list(payouts.values()))
            outcomes |= {message_id: paid.get(one.idempotency_key) for message_id, one in payouts.items()}
        hit(AFTER_PROVIDER)
        return outcomes


def _of(kind: type[_Wish], wishes: Mapping[UUID, Any]) -> dict[UUID, _Wish]:
    return {message_id: what for message_id, what in wishes.items() if isinstance(what, kind)}
