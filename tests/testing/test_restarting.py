"""An examination that kills looks for all that the participant has named."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ordersaga.testing.conformance import Case, Effect, Result, examine
from ordersaga.wire.topics import Participant
from tests.testing.in_memory import InMemory


def test_a_ledger_that_knows_ids_only_is_asked_for_all_that_were_given() -> None:
    with running(KnowsIdsOnly(Participant.PAYMENT)) as payment:
        report = examine(payment.subject(), only=["answers once committed", "recognises repeats"])
    assert report.of(Result.HAS) == ["recognises repeats", "answers once committed"], "\n".join(report.lines())
    assert "its ledger has 1 that stands of each" in report.findings[-1].evidence


class KnowsIdsOnly(InMemory):
    """As the endpoints of a service do."""

    def effects(self, case: Case) -> Sequence[Effect]:
        return super().effects(case) if case.named else ()


@contextmanager
def running(participant: InMemory) -> Iterator[InMemory]:
    try:
        yield participant
    finally:
        participant.stop()
