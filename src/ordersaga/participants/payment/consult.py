"""Asks the provider for a whole batch, before the answers are decided."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from ordersaga.delivery.failpoints import declare, hit
from ordersaga.participants.payment.provider import Hold, Provider
from ordersaga.participants.payment.service import PaymentRow, may_be_held
from ordersaga.participants.service import Asked
from ordersaga.wire import messages as m

AFTER_PROVIDER = declare("payment.after_provider", "the provider has held or released money, nothing is recorded of it")


class ConsultProvider:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __call__(self, rows: Mapping[str, PaymentRow], asked: Sequence[Asked]) -> Mapping[UUID, Any]:
        holds, releases = self._wanted(rows, asked)
        held = self._provider.hold(list(holds.values())) if holds else {}
        released = self._provider.release(list(set(releases.values()))) if releases else {}
        if held or released:
            hit(AFTER_PROVIDER)
        outcomes: dict[UUID, Any] = {message_id: held[hold.idempotency_key] for message_id, hold in holds.items()}
        return outcomes | {message_id: released[intent_id] for message_id, intent_id in releases.items()}

    def _wanted(
        self, rows: Mapping[str, PaymentRow], asked: Sequence[Asked]
    ) -> tuple[dict[UUID, Hold], dict[UUID, str]]:
        holds: dict[UUID, Hold] = {}
        releases: dict[UUID, str] = {}
        for one in asked:
            row = rows.get(one.key)
            match one.command:
                case m.AuthorizePayment() as command if may_be_held(row, command):
                    method = command.customer.user_stripe_card.payment_method_id
                    holds[one.message_id] = Hold(
                        idempotency_key=str(one.message_id), amount_cents=command.order.amount, payment_method_id=method
                    )
                case m.RevertPayment() if row and row.payment_intent_id and row.status == "AUTHORIZED":
                    releases[one.message_id] = row.payment_intent_id
        return holds, releases
