"""The payment service on a real database, in batches, with crashes, at two hosts: what the ledgers say in the end.

Batches are drawn at random from what can be asked of a few sagas; a batch that crashed comes again, later, as the bus
brings it. At rest, no saga has money held after a confirmed release, none has it held twice, and each command has one
answer.
"""

from collections import defaultdict
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ordersaga.bus.protocol import Record
from ordersaga.delivery.failpoints import FailpointError, armed
from ordersaga.participants.host import AFTER_COMMIT, BEFORE_COMMIT
from ordersaga.participants.payment.consult import AFTER_PROVIDER, BEFORE_PROVIDER
from ordersaga.wire import messages as m
from ordersaga.wire.topics import Participant
from tests.participants.stage import Hosted, authorize, command_record, hosted, saga_id

SAGAS = [saga_id() for _ in range(3)]
ASKED = ["do", "do under another id", "undo", "undo under another id"]
PLACES = [BEFORE_PROVIDER, AFTER_PROVIDER, BEFORE_COMMIT, AFTER_COMMIT]
ENOUGH = settings(max_examples=60, stateful_step_count=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BATCHES = st.lists(st.tuples(st.sampled_from(SAGAS), st.sampled_from(ASKED)), min_size=1, max_size=6)


class BatchesAndCrashes(RuleBasedStateMachine):
    hosts: ClassVar[list[Hosted]]

    def __init__(self) -> None:
        super().__init__()
        self.to_come: list[list[Record]] = []
        """Batches whose offsets were not committed."""
        self.answers: dict[UUID, set[tuple[Any, ...]]] = defaultdict(set)
        """By the command's id."""
        self.released: set[UUID] = set()
        self.hosts[0].clear("rows", "answers", "outbox", "sandbox_intents")

    @rule(batch=BATCHES, host=st.sampled_from([0, 1]))
    def deliver(self, batch: list[tuple[UUID, str]], host: int) -> None:
        self._deliver(_records(batch), host)

    @rule(batch=BATCHES, host=st.sampled_from([0, 1]), place=st.sampled_from(PLACES))
    def crash(self, batch: list[tuple[UUID, str]], host: int, place: str) -> None:
        records = _records(batch)
        try:
            with armed(place, "raise"):
                self._deliver(records, host)
        except FailpointError:
            self.to_come.append(records)

    @rule(host=st.sampled_from([0, 1]))
    def deliver_again(self, host: int) -> None:
        if self.to_come:
            self._deliver(self.to_come.pop(0), host)

    def teardown(self) -> None:
        while self.to_come:
            self.deliver_again(0)
        for saga in SAGAS:
            intents = "select count(*) from sandbox_intents i join answers a on a.message_id::text = i.idempotency_key"
            held = self.hosts[0].one(f"{intents} where i.status = 'HELD' and a.key = '{saga}'::text::bytea")
            assert held <= 1
            if saga in self.released:
                assert held == 0
        held_in_all = self.hosts[0].one("select count(*) from sandbox_intents where status = 'HELD'")
        assert held_in_all == self.hosts[0].one("select count(*) from rows where status = 'AUTHORIZED'")
        assert all(len(said) == 1 for said in self.answers.values()), "a repeat is answered the same"

    def _deliver(self, records: list[Record], host: int) -> None:
        self.hosts[host].deliver(records)
        for envelope in self.hosts[host].envelopes():
            assert envelope.causation_id
            assert envelope.saga_id
            self.answers[envelope.causation_id].add((envelope.message_id, envelope.timestamp, str(envelope.body)))
            if isinstance(envelope.body, m.PaymentReleased):
                self.released.add(envelope.saga_id)


def _records(batch: list[tuple[UUID, str]]) -> list[Record]:
    return [command_record(_command(saga, name), saga, step=name) for saga, name in batch]


def _command(saga: UUID, name: str) -> m.Message:
    if name.startswith("do"):
        return authorize(f"o-{saga}")
    return m.RevertPayment(reason="r", order_id=f"o-{saga}")


def test_the_ledgers_agree_whatever_meets_in_a_batch_and_whatever_crashes(database_url: str) -> None:
    with hosted(Participant.PAYMENT, database_url) as first, hosted(Participant.PAYMENT, database_url) as second:

        class Here(BatchesAndCrashes):
            hosts: ClassVar[list[Hosted]] = [first, second]

        run_state_machine_as_test(Here, settings=ENOUGH)
