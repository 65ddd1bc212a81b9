"""Generated requests to every route, with every role, over a store in which there is something of everything: no answer
is a server's error, none is undocumented, and each good answer that the document promises was seen.
"""

import re
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.tokens import Role, Tokens
from ordersaga.wire import messages as m
from ordersaga.wire.ids import uuid7
from tests.api.conftest import Stage
from tests.api.test_access import TABLE, TOKENS, bearer
from tests.api.test_contract_fuzz import CHECKS, NEGATIVE, POSITIVE
from tests.api.test_dead_letters import created, record
from tests.api.test_edges import ROUTES
from tests.api.test_operators import body_of
from tests.api.test_sagas import hear

ORDERS, LETTERS = 8, 4
CANCEL, SETTLE = ("/sagas/{saga_id}/cancel", "post"), ("/sagas/{saga_id}/settle", "post")
NEEDS_MORE = {("/orders/{order_id}/completion", "post"), ("/dead-letters/{letter_id}/replay", "post")}
"""A good answer needs an order that a runner took, or a letter whose bug is mended: `tests/api` has them elsewhere."""
Seen = Counter[tuple[str, str, str]]
"""Path, method and status."""


@pytest.fixture
def seeded(memory_stage: Stage) -> Mapping[str, list[str]]:
    """What there is to be named in a path."""
    sagas = [memory_stage.place() for _ in range(ORDERS)]
    for saga_id in sagas[1:]:
        hear(memory_stage, saga_id, m.OrderCreated(order_id=f"order-{saga_id}"))
    for saga_id in sagas[5:]:
        hear(memory_stage, saga_id, m.PaymentInfoFailed(error="User not found"))
        hear(memory_stage, saga_id, m.OrderCancelled(order_id=f"order-{saga_id}"))
    for saga_id in sagas[2:5]:
        assert memory_stage.client.post(f"/sagas/{saga_id}/cancel").status_code == 202
    hear(memory_stage, sagas[3], m.OrderCancelled(order_id=f"order-{sagas[3]}"))
    memory_stage.handler.records([record(b"\xff not JSON", offset) for offset in range(LETTERS)])
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    memory_stage.handler.records([created(str(uuid7(now_ms, uuid4().bytes)))])
    letters = [str(one["id"]) for one in memory_stage.client.get("/dead-letters").json()]
    orphans = [str(one["id"]) for one in memory_stage.client.get("/orphans").json()]
    under_way = memory_stage.place()
    hear(memory_stage, under_way, m.OrderCreated(order_id=f"order-{under_way}"))
    orders = [f"order-{saga_id}" for saga_id in sagas]
    named = {"saga_id": sagas, "letter_id": letters, "orphan_id": orphans, "order_id": orders}
    return {**named, "under_way": [under_way]}


def test_every_role_is_answered_as_the_document_says(stage: Stage, seeded: Mapping[str, list[str]]) -> None:
    seen = _ask_everything(stage, seeded, examples=8)
    assert {"200", "401", "403"} <= {status for _, _, status in seen}
    assert seen[(*CANCEL, "202")] and seen[(*SETTLE, "202")] and seen[(*CANCEL, "409")]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_role_is_answered_as_the_document_says_however_long_it_asks(
    stage: Stage, seeded: Mapping[str, list[str]]
) -> None:
    _must_be_sound(_ask_everything(stage, seeded, examples=150))


def _ask_everything(stage: Stage, seeded: Mapping[str, list[str]], *, examples: int) -> Seen:
    """What stops new orders comes last."""
    seen: Seen = Counter()
    tokens = Tokens(line for _, line in TOKENS.values())
    with TestClient(create_app(stage.api, AppSettings(tokens=tokens)), raise_server_exceptions=False) as client:
        schema: Any = schemathesis.openapi.from_dict(stage.client.get("/schema").json())
        for path, method in sorted(ROUTES, key=lambda route: (route[0].startswith("/admission"), route)):
            for mode in (POSITIVE, NEGATIVE) if method == "post" or path == "/sagas" else (POSITIVE,):
                strategy = schema[path][method.upper()].as_strategy(generation_mode=mode)
                count = examples if mode is POSITIVE else examples // 4
                _ask(client, strategy, seeded, seen, route=(path, method), examples=count)
        # Rarely met by chance: a saga that can be cancelled, then the undo that it waits for, and one that is over.
        (under_way,), taken_back = seeded["under_way"], seeded["saga_id"][-1]
        for route, verb, saga_id in (
            (CANCEL, "cancel", under_way),
            (SETTLE, "settle", under_way),
            (CANCEL, "cancel", taken_back),
        ):
            request = {"path_parameters": {"saga_id": saga_id}, "body": body_of(verb)}
            sound = schema[route[0]]["POST"].Case(**request, media_type="application/json")
            _answer(client, sound, Role.OPERATOR, seen, route=route)
    sys.stdout.write(f"schemathesis: {seen.total()} cases on {len(ROUTES)} routes; {_by_status(seen)}\n")
    return seen


def _ask(
    client: TestClient[Any],
    strategy: Any,
    seeded: Mapping[str, list[str]],
    seen: Seen,
    *,
    route: tuple[str, str],
    examples: int,
) -> None:
    roles = st.sampled_from([*sorted(TABLE[route] or Role), *Role, None])

    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy, role=roles, data=st.data())
    def ask(case: Any, role: Role | None, data: st.DataObject) -> None:
        for name in case.path_parameters or {}:
            if name in seeded and data.draw(st.integers(0, 3)):
                case.path_parameters[name] = data.draw(st.sampled_from(seeded[name]))
        _answer(client, case, role, seen, route=route)

    try:
        ask()
    except Exception as error:
        error.add_note(f"{route[1].upper()} {route[0]}")
        raise


def _answer(client: TestClient[Any], case: Any, role: Role | None, seen: Seen, *, route: tuple[str, str]) -> None:
    request = case.as_transport_kwargs(base_url=str(client.base_url))
    request.pop("cookies", None)
    if isinstance(request.get("data"), bytes | str):
        request["content"] = request.pop("data")
    request["headers"] = {**(request.get("headers") or {}), **(bearer(role) if role else {})}
    answer = client.request(**request)
    seen[(*route, str(answer.status_code))] += 1
    case.validate_response(answer, checks=CHECKS)
    if not (_names_no_route(case.path_parameters or {}) and answer.status_code == 404):
        _must_fit_the_role(TABLE[route], role, answer.status_code)


def _names_no_route(named: Mapping[str, Any]) -> bool:
    """What is no number is not this path, but one that there is not: nobody is asked who they are for that."""
    return not re.fullmatch("[0-9]+", str(named.get("letter_id", named.get("orphan_id", "0"))))


def _must_fit_the_role(allowed: frozenset[Role], role: Role | None, status: int) -> None:
    if allowed and role is None:
        assert status == 401, f"without a token: {status}"
    elif allowed and role not in allowed:
        assert status == 403, f"{role}: {status}"
    else:
        assert status != 401, f"{role}: {status}"


def _must_be_sound(seen: Seen) -> None:
    """Each good answer was met, and what is said of what is not there and of what cannot be done."""
    wanted = {(path, method, "404") for path, method in ROUTES if "{" in path}
    wanted |= {(path, method, "409") for path, method in ROUTES if "{" in path and method == "post"}
    wanted -= {(f"/sagas/{{saga_id}}/{verb}", "post", "409") for verb in ("resolve",)}
    # Of a letter that was replayed, and these cannot be: tests/api/test_dead_letters.py.
    wanted -= {("/dead-letters/{letter_id}/discard", "post", "409"), ("/orphans/{orphan_id}/discard", "post", "409")}
    assert not wanted - seen.keys(), f"never met: {sorted(wanted - seen.keys())}; {_by_status(seen)}"
    good = {(path, method) for path, method, status in seen if status.startswith("2")}
    assert ROUTES - good <= NEEDS_MORE, f"never answered well: {sorted(ROUTES - good)}"


def _by_status(seen: Seen) -> str:
    found: Counter[str] = Counter()
    for (_, _, status), count in seen.items():
        found[status] += count
    return ", ".join(f"{count} × {status}" for status, count in sorted(found.items()))
