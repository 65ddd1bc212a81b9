"""One thing that a participant can be, with the check that tries it. All of them: `properties`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum

from ordersaga.orchestrator.core.definition import Kind
from ordersaga.testing.conformance.talk import Talk
from ordersaga.wire.topics import Participant


class When(IntEnum):
    """Checks that harm others wait until those are done."""

    TOGETHER = 0
    ALONE = 1
    RESTARTING = 2


@dataclass(frozen=True, kw_only=True)
class Property:
    name: str
    says: str
    why: str
    check: Callable[[Talk], str]
    of: Collection[Participant]
    promised_by: Kind | None = Kind.FULL
    """BARE: by both; None: by nobody."""
    when: When = When.TOGETHER

    def is_promised_by(self, kind: Kind) -> bool:
        return self.promised_by in (kind, Kind.BARE)
