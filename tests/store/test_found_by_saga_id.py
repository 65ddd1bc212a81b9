"""A split of the database by the sagas' ids leaves the path of a saga alone: each statement of it finds its rows by the
saga's id. Those that do not are listed with why; `docs/growing.md` says what a split needs for them.
"""

import re
from collections import Counter
from threading import get_ident
from typing import Any

import psycopg
import pytest

from bench.batches import Bench
from ordersaga.delivery.outbox import _TEXTS as OUTBOX
from ordersaga.orchestrator.store.connections import statements

BY_SAGA = (
    re.compile(r"^INSERT INTO (sagas|saga_personal|saga_history|deadlines) \(\s*(id|saga_id),"),
    re.compile(
        r"\bWHERE (id|saga_id) = ANY \(%\(ids\)s\)( ORDER BY id FOR UPDATE( SKIP LOCKED)?| RETURNING [\w, ]+)?$"
    ),
    re.compile(r"\bWHERE saga_id = %\(id\)s AND "),
    re.compile(
        r"unnest\(\s*%\(ids\)s,[\s\w%(),]*?\)( WITH ORDINALITY)? [vk] \((id|saga_id),"
        r".* (s\.id = [vk]\.id|d\.saga_id = v\.saga_id)\b"
    ),
)
EXCEPTIONS = {
    # Of every saga, on its way.
    "written_by": "looks at no table",
    "hold_references": "looks at no table: a lock by the id of an order or a payment, when a saga learns it",
    "kept_early": "by the id of an order or a payment, when a saga learns it: news may have come before",
    "add_sums": "appends, and looks for nothing: beside the sagas that it counts",
    "add_in_flight": "the same",
    "write": "by the key of the record, which is the saga's id, beside the saga; its lane is there too",
    "acknowledged": "by the row's id, beside the saga that wrote it",
    # Of those to whom something special happens.
    "claim_early": "by the id of an order or a payment: what came before the saga learnt it",
    "lock_by_reference": "news that name an order or a payment, and no saga: every part is asked",
    "lock_free_by_reference": "the same",
    "personal_by_reference": "the same",
    "known_references": "the same, before such news are kept",
    "add_early": "beside the id of the order or the payment that the news name",
    "add_keys": "by the key that the client gave: two orders with one key must meet",
    "add_dead_letters": "by the place in the topic: no saga is known",
    "add_orphans": "by the place in the topic: no saga is there",
}


def plain(text: bytes) -> str:
    """On one line, without comments."""
    return " ".join(re.sub(r"--.*", "", text.decode()).split()).removesuffix(";")


KNOWN = {
    plain(text): name
    for texts in (statements("write.sql"), {name: OUTBOX[name] for name in ("write", "acknowledged")})
    for name, text in texts.items()
} | {plain(statements("archive.sql")["take"]): "take"}


def is_by_saga(text: str) -> bool:
    return any(one.search(text) for one in BY_SAGA)


@pytest.mark.parametrize("text", KNOWN, ids=KNOWN.get)
def test_a_statement_finds_its_rows_by_the_sagas_id_or_is_listed_with_why_not(text: str) -> None:
    assert is_by_saga(text) != (KNOWN[text] in EXCEPTIONS), text


def test_nothing_is_listed_that_is_not_there() -> None:
    assert EXCEPTIONS.keys() <= set(KNOWN.values())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Every statement that this thread sends from here on; the pool's own set up connections whenever they please."""
    seen: Counter[str] = Counter()
    here = get_ident()
    execute = psycopg.Cursor.execute

    def noted(cursor: Any, query: Any, *arguments: Any, **more: Any) -> Any:
        if get_ident() == here:
            seen[plain(query if isinstance(query, bytes) else str(query).encode())] += 1
        return execute(cursor, query, *arguments, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", noted)
    return seen


def test_the_whole_path_of_a_saga_sends_no_others(migrated_url: str, asked: Counter[str]) -> None:
    bench = Bench(migrated_url)
    try:
        asked.clear()
        bench.run(20)
    finally:
        bench.store.close()
    assert asked["".join(text for text, name in KNOWN.items() if name == "move_sagas")] > 0, "sagas have moved"
    assert set(asked) <= set(KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE sagas s SET step = v.step FROM unnest(%(orders)s) v (order_id) WHERE s.order_id = v.order_id",
        "SELECT id FROM sagas WHERE status = 'STARTED' ORDER BY id LIMIT 10",
        "DELETE FROM deadlines WHERE due_at < now()",
    ],
)
def test_one_that_looks_elsewhere_is_noticed(text: str) -> None:
    assert not is_by_saga(text)
