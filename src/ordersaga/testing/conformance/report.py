"""What an examination found, for people, for programs and for tests; and how to run the participant after it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.testing.conformance.properties import Property
from ordersaga.wire.topics import Participant


class Result(StrEnum):
    HAS = "has"
    LACKS = "lacks"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Finding:
    property: Property
    result: Result
    evidence: str
    """What was seen, or why nothing was."""


@dataclass(frozen=True, slots=True)
class Report:
    participant: Participant
    kind: Kind
    """What it was examined as."""
    findings: tuple[Finding, ...]
    left_standing: int = 0
    """Of how many sagas of the examination something may still stand."""

    def of(self, result: Result, kind: Kind = Kind.FULL) -> list[str]:
        """Names of the properties with this result, of those that such a participant promises."""
        return [
            one.property.name for one in self.findings if one.result is result and one.property.is_promised_by(kind)
        ]

    @property
    def passed(self) -> bool:
        """Whether it was seen to have all that its kind promises."""
        return not self.of(Result.LACKS, self.kind) and not self.of(Result.NOT_TRIED, self.kind)

    def must_have(self, name: str) -> None:
        """For a test: raises `AssertionError` with the evidence."""
        found = next((one for one in self.findings if one.property.name == name), None)
        if found is None:
            raise LookupError(f"no property {name!r} of a {self.participant} service was examined")
        if found.result is not Result.HAS:
            raise AssertionError(f"{name}: {found.result.value}: {found.evidence}\n{found.property.why}")

    def advice(self) -> list[str]:
        """Which kind to run it as, and what would have to change for the other."""
        variable = f"ORDERSAGA_PARTICIPANT_{self.participant.value.upper()}"
        lacks_bare, untried_bare = self.of(Result.LACKS, Kind.BARE), self.of(Result.NOT_TRIED, Kind.BARE)
        lacks, untried = self.of(Result.LACKS), self.of(Result.NOT_TRIED)
        if lacks_bare:
            return [f"Do not run sagas against it: it lacks what even a bare one needs: {', '.join(lacks_bare)}."]
        if untried_bare:
            return [f"Nothing can be advised: not tried was what even a bare one needs: {', '.join(untried_bare)}."]
        if lacks:
            return [f"Run it as bare: {variable}=bare. For full it lacks: {', '.join(lacks)}."]
        if untried:
            return [
                f"Run it as bare until the rest is tried: {variable}=bare. Not tried: {', '.join(untried)}.",
                "A bare one treated as full loses money; a full one treated as bare is only asked less often.",
            ]
        return [f"Run it as full: {variable}=full."]

    def lines(self) -> Sequence[str]:
        """For people."""
        width = max((len(one.property.name) for one in self.findings), default=0)
        lines = [line for one in self.findings for line in _lines(one, width)]
        if self.left_standing:
            lines.append(f"Of {self.left_standing} sagas of this run something may still stand: it was not taken back.")
        return [*lines, self._verdict(), *self.advice()]

    def _verdict(self) -> str:
        has = len(self.of(Result.HAS))
        seen = "all that" if self.passed else "not all that"
        return (
            f"{self.participant.value}: {has} of {len(self.findings)} properties; it was seen to have {seen}"
            f" a {self.kind.value} participant promises."
        )

    def as_json(self) -> str:
        return json.dumps(
            {
                "participant": self.participant.value,
                "kind": self.kind.value,
                "passed": self.passed,
                "left_standing": self.left_standing,
                "advice": " ".join(self.advice()),
                "findings": [
                    {
                        "property": one.property.name,
                        "says": one.property.says,
                        "why": one.property.why,
                        "promised_by": "both" if one.property.promised_by is Kind.BARE else "full",
                        "result": one.result.value,
                        "evidence": one.evidence,
                    }
                    for one in self.findings
                ],
            }
        )


def _lines(finding: Finding, width: int) -> list[str]:
    mark = {Result.HAS: "has", Result.LACKS: "LACKS", Result.NOT_TRIED: "not tried"}[finding.result]
    first = f"{mark:9}  {finding.property.name:{width}}  {finding.evidence}"
    return [first] if finding.result is Result.HAS else [first, f"{'':11}-> {finding.property.why}"]
