"""How sagas are searched for: by an index, page after page, each looking at a bounded number of sagas.

Of the conditions one chooses the index, the one that leaves the fewest sagas; the others are checked one by one. Where
they leave few of many, a page ends after `LOOKED_MAX` sagas, perhaps with none found, and says where to go on: so no
page is slow, however deep it is and whatever is asked for.
"""

from uuid import UUID

from ordersaga.orchestrator.store.connections import statements
from ordersaga.orchestrator.store.search import Search, first_id_at

LOOKED_MAX = 2_000
"""Sagas that one page looks at."""
COUNTED_MAX = 20_000
"""Sagas that one count looks at."""
_FIRST_ID, _LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
_SQL = statements("search.sql")


def page_statement(search: Search) -> bytes:
    """Its values: see `parameters`."""
    return _put_together("page", search)


def count_statement(search: Search) -> bytes:
    """Its values: see `parameters`."""
    return _put_together("count", search)


def parameters(search: Search, *, limit: int, looked_max: int, after: UUID | None) -> dict[str, object]:
    first, before = _between(search, after)
    return {
        "statuses": sorted(status.value for status in search.statuses) or None,
        "saga": search.saga,
        "step": search.step,
        "reason": search.reason.value if search.reason else None,
        "customer_id": search.customer_id,
        "order_id": search.order_id,
        "payment_id": search.payment_id,
        "attention": search.attention,
        "text": search.text,
        "first": first,
        "before": before,
        "limit": limit,
        "looked_max": looked_max,
    }


def _between(search: Search, after: UUID | None) -> tuple[UUID, UUID]:
    """The first id that may be on the page that follows `after`, and the one that all of it are below."""
    first = first_id_at(search.since) if search.since else _FIRST_ID
    before = first_id_at(search.until) if search.until else _LAST_ID
    if after is None:
        return first, before
    if search.oldest_first:
        return max(first, UUID(int=min(after.int + 1, _LAST_ID.int))), before
    return first, min(before, after)


def _put_together(name: str, search: Search) -> bytes:
    way, back = (b"ASC", b"DESC") if search.oldest_first else (b"DESC", b"ASC")
    statement = _SQL[name]
    for place, part in (
        (b"{looked}", _SQL[_source_of(search)]),
        (b"{filter}", _SQL["filter"]),
        (b"{way}", way),
        (b"{back}", back),
    ):
        statement = statement.replace(place, part.rstrip(b"; \n"))
    return statement


def _source_of(search: Search) -> str:
    """The one that leaves the fewest."""
    if search.order_id is not None:
        return "by_order"
    if search.payment_id is not None:
        return "by_payment"
    if search.customer_id is not None:
        return "by_customer"
    if search.attention:
        return "by_attention"
    if search.reason is not None:
        return "by_reason"
    return "by_status" if search.statuses else "by_id"
