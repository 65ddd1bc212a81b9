"""A conformance run for a participant: which of the properties of a full participant it has, tried over its topics.

    report = examine(Subject(participant=Participant.PAYMENT, bus=KafkaBus("127.0.0.1:9092")))

In a test suite, `names(Participant.PAYMENT, Kind.FULL)` are the properties to parametrize over, and `report.must_have`
fails with the evidence. The same from a terminal: `ordersaga conformance`.
"""

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.testing.conformance.examine import TopicMissing, examine
from ordersaga.testing.conformance.outside import CommandDesk, CommandLedger, HttpDesk, restart_by
from ordersaga.testing.conformance.properties import properties_of
from ordersaga.testing.conformance.property import Property
from ordersaga.testing.conformance.report import Finding, Report, Result
from ordersaga.testing.conformance.subject import (
    Case,
    Desk,
    Effect,
    Ledger,
    Made,
    MeansFailed,
    NotOffered,
    Samples,
    Subject,
)
from ordersaga.wire.topics import Participant

__all__ = [
    "Case",
    "CommandDesk",
    "CommandLedger",
    "Desk",
    "Effect",
    "Finding",
    "HttpDesk",
    "Kind",
    "Ledger",
    "Made",
    "MeansFailed",
    "NotOffered",
    "Participant",
    "Property",
    "Report",
    "Result",
    "Samples",
    "Subject",
    "TopicMissing",
    "examine",
    "names",
    "properties_of",
    "restart_by",
]


def names(participant: Participant, kind: Kind = Kind.FULL) -> list[str]:
    """Of the properties that such a participant promises."""
    return [one.name for one in properties_of(participant) if one.is_promised_by(kind)]
