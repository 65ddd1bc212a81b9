"""What an examination found, for people, for programs and for tests; and how to run the participant after it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.testing.conformance.properties import properties_of
from ordersaga.testing.conformance.property import Property
from ordersaga.testing.conformance.subject import Made
from ordersaga.wire.topics import Participant


class Result(StrEnum):
    HAS = "has"
    LACKS = "lacks"
    NOT_TRIED = "not tried"


PROMISED_BY: Mapping[Kind | None, str] = {Kind.BARE: "both", Kind.FULL: "full", None: "nobody"}


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
    """Of all that such a participant may have, or of what was asked for."""
    undone: tuple[Made, ...] = ()
    """What the examination made and took back, by its ids."""
    left: tuple[Made, ...] = ()
    """What the examination made and no confirmed undo is known of."""

    @property
    def left_standing(self) -> int:
        """How much of what the examination made may still stand."""
        return len(self.left)

    def of(self, result: Result, kind: Kind | None = None) -> list[str]:
        """Names of the properties with this result; with a kind, of those that such a participant promises."""
        found = [one.property for one in self.findings if one.result is result]
        return [one.name for one in found if kind is None or one.is_promised_by(kind)]

    @property
    def not_asked(self) -> list[str]:
        """Names of the properties that nobody wanted to have tried."""
        asked = {one.property.name for one in self.findings}
        return [one.name for one in properties_of(self.participant) if one.name not in asked]

    @property
    def passed(self) -> bool:
        """Whether it was seen to have all that its kind promises. What was not asked for was not seen."""
        return not self.of(Result.LACKS, self.kind) and not self._unseen(self.kind)

    @property
    def has_what_was_asked(self) -> bool:
        """Where some properties only were asked for: whether it was seen to have each of them. Else: `passed`."""
        return all(one.result is Result.HAS for one in self.findings) if self.not_asked else self.passed

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
        lacks_bare, untried_bare = self.of(Result.LACKS, Kind.BARE), self._unseen(Kind.BARE)
        lacks, untried = self.of(Result.LACKS, Kind.FULL), self._unseen(Kind.FULL)
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
        besides = self.of(Result.LACKS)
        return [
            f"Run it as full: {variable}=full.",
            *([f"Nobody has to have it, but it would be well to: {', '.join(besides)}."] if besides else []),
        ]

    def lines(self) -> Sequence[str]:
        """For people."""
        width = max((len(one.property.name) for one in self.findings), default=0)
        lines = [line for one in self.findings for line in _lines(one, width)]
        return [*lines, *self._taken_back(), self._verdict(), *self.advice()]

    def _taken_back(self) -> Sequence[str]:
        """Of what was made once and undone there is nothing to say."""
        made = Counter(one.saga_id for one in (*self.undone, *self.left))
        again = [one for one in self.undone if made[one.saga_id] > 1]
        return [
            *(["Done more than once for one saga, and taken back:"] if again else []),
            *(f"    {one}" for one in again),
            *([f"{self.left_standing} that this run made may still stand. Take it back by hand:"] if self.left else []),
            *(f"    {one}: {one.why}" for one in self.left),
        ]

    def _verdict(self) -> str:
        has = f"{self.participant.value}: {len(self.of(Result.HAS))} of {len(self.findings)} properties"
        if self.not_asked:
            return f"{has} that were asked for; {len(self.not_asked)} others were not."
        seen = "all that" if self.passed else "not all that"
        return f"{has}; it was seen to have {seen} a {self.kind.value} participant promises."

    def _unseen(self, kind: Kind) -> list[str]:
        """Of what such a participant promises: not tried, or not asked for."""
        seen = {one.property.name for one in self.findings if one.result is not Result.NOT_TRIED}
        promised = [one.name for one in properties_of(self.participant) if one.is_promised_by(kind)]
        return [name for name in promised if name not in seen]

    def as_json(self) -> str:
        return json.dumps(
            {
                "participant": self.participant.value,
                "kind": self.kind.value,
                "passed": self.passed,
                "not_asked": self.not_asked,
                "left_standing": self.left_standing,
                "left": [asdict(one) for one in self.left],
                "undone": [{"saga_id": one.saga_id, "ids": one.ids} for one in self.undone],
                "advice": " ".join(self.advice()),
                "findings": [
                    {
                        "property": one.property.name,
                        "says": one.property.says,
                        "why": one.property.why,
                        "promised_by": PROMISED_BY[one.property.promised_by],
                        "result": one.result.value,
                        "evidence": one.evidence,
                    }
                    for one in self.findings
                ],
            }
        )


def _lines(finding: Finding, width: int) -> list[str]:
    is_bad = finding.result is Result.LACKS and finding.property.is_promised_by(Kind.FULL)
    mark = finding.result.upper() if is_bad else finding.result.value
    first = f"{mark:9}  {finding.property.name:{width}}  {finding.evidence}"
    return [first] if finding.result is Result.HAS else [first, f"{'':11}-> {finding.property.why}"]
