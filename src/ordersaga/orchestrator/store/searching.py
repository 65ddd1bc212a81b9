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
    return {
        "statuses": sorted(status.value for status in search.statuses) or None,
        "saga": search.saga,
        "step": search.step,
        "reason": search.reason.value if search.reason else None,
        "customer_id": search.customer_id,
        "order_id": search.order_id,
        "attention": search.attention,
        "text": search.text,
        "since": first_id_at(search.since) if search.since else _FIRST_ID,
        "until": first_id_at(search.until) if search.until else _LAST_ID,
        "after": after or (_FIRST_ID if search.oldest_first else _LAST_ID),
        "limit": limit,
        "looked_max": looked_max,
    }


def _put_together(name: str, search: Search) -> bytes:
    way, back, beyond = (b"ASC", b"DESC", b">") if search.oldest_first else (b"DESC", b"ASC", b"<")
    statement = _SQL[name]
    for place, part in (
        (b"{looked}", _SQL[_source_of(search)]),
        (b"{filter}", _SQL["filter"]),
        (b"{way}", way),
        (b"{back}", back),
        (b"{beyond}", beyond),
    ):
        statement = statement.replace(place, part.rstrip(b"; \n"))
    return statement


def _source_of(search: Search) -> str:
    """The one that leaves the fewest."""
    if search.order_id is not None:
        return "by_order"
    if search.customer_id is not None:
        return "by_customer"
    if search.attention:
        return "by_attention"
    if search.reason is not None:
        return "by_reason"
    return "by_status" if search.statuses else "by_id"
