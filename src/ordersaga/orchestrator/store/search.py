"""What sagas may be searched for."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ordersaga.orchestrator.core.instance import Instance, Status
from ordersaga.orchestrator.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Each condition that is given must hold."""

    archived: bool = False
    """Sagas in the archive are searched, and no others; otherwise these are not."""

    statuses: frozenset[Status] = frozenset()
    """One of these."""
    saga: str | None = None
    """The kind: the name of its definition."""
    step: str | None = None
    """The step that it last went to."""
    reason: Reason | None = None
    customer_id: str | None = None
    order_id: str | None = None
    payment_id: str | None = None
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
        by_index = [self.customer_id, self.order_id, self.payment_id, self.reason, self.statuses, self.attention]
        return any((self.text, self.step, self.saga)) or sum(map(bool, by_index)) > 1


EVERYTHING = Search()


def meets(search: Search, one: Instance[Any]) -> bool:
    """Whether each condition holds for it."""
    person = one.data.personal
    wanted = [
        (search.statuses, one.status in search.statuses),
        (search.saga, one.saga == search.saga),
        (search.step, one.step == search.step),
        (search.reason, one.reason is search.reason),
        (search.customer_id, getattr(person, "customer_id", None) == search.customer_id),
        (search.order_id, getattr(one.data, "order_id", None) == search.order_id),
        (search.payment_id, getattr(one.data, "payment_id", None) == search.payment_id),
        (search.attention, bool(one.attention) and one.resolved is None),
        (search.since, search.since is not None and one.saga_id >= first_id_at(search.since)),
        (search.until, search.until is not None and one.saga_id < first_id_at(search.until)),
        (search.text, (search.text or "").lower() in _trouble(one).lower()),
    ]
    return all(holds for given, holds in wanted if given)


def _trouble(one: Instance[Any]) -> str:
    refusals = [step.refusal for step in one.steps.values() if step.refusal]
    return " ".join([one.explanation or "", one.stuck.problem if one.stuck else "", *one.attention, *refusals])


def first_id_at(moment: datetime) -> UUID:
    """Not above any id that is drawn then."""
    milliseconds = min(max(0, int(moment.timestamp() * 1000)), 2**48 - 1)
    return UUID(int=milliseconds << 80)
