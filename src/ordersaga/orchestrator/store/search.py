"""What sagas may be searched for."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ordersaga.orchestrator.core.instance import Status
from ordersaga.orchestrator.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Each condition that is given must hold. Sagas in the archive are not among what is searched."""

    statuses: frozenset[Status] = frozenset()
    """One of these."""
    step: str | None = None
    """The step that it last went to."""
    reason: Reason | None = None
    customer_id: str | None = None
    order_id: str | None = None
    attention: bool = False
    """Only those that a person should look at and that are not resolved."""
    since: datetime | None = None
    """Begun then or later, by the time in the saga's id."""
    until: datetime | None = None
    """Begun before."""
    text: str | None = None
    """In what is told of its trouble, whatever its case: explanation, problem, attention, codes of refusals."""
    oldest_first: bool = False

    @property
    def narrows(self) -> bool:
        """Whether something is checked one by one, beside what the index finds."""
        by_index = [self.customer_id, self.order_id, self.reason, self.statuses, self.attention]
        return self.text is not None or self.step is not None or sum(map(bool, by_index)) > 1


EVERYTHING = Search()


def first_id_at(moment: datetime) -> UUID:
    """Not above any id that is drawn then."""
    milliseconds = min(max(0, int(moment.timestamp() * 1000)), 2**48 - 1)
    return UUID(int=milliseconds << 80)
