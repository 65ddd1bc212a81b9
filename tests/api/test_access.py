"""Who may ask for what: every route, every role; tokens that are wrong, guessed, or somebody else's."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from litestar import Litestar, get
from litestar.testing import TestClient

from ordersaga.delivery.background import Health
from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.tokens import Role, Tokens, new_token
from ordersaga.web.access import Access, roles_of
from ordersaga.web.problems import HANDLERS
from ordersaga.web.rate import Rate
from ordersaga.wire import messages as m
from tests.api.conftest import Stage, order
from tests.api.test_edges import NOBODY, ROUTES
from tests.api.test_sagas import hear

ALL, CUSTOMERS = frozenset(Role), frozenset({Role.CUSTOMER, Role.OPERATOR, Role.ADMIN})
READERS, OPERATORS = frozenset({Role.VIEWER, Role.OPERATOR, Role.ADMIN}), frozenset({Role.OPERATOR, Role.ADMIN})
ANYBODY: frozenset[Role] = frozenset()

TABLE: Mapping[tuple[str, str], frozenset[Role]] = {
    ("/orders", "post"): CUSTOMERS,
    ("/orders/{order_id}/completion", "post"): OPERATORS,
    ("/sagas", "get"): READERS,
    ("/sagas/count", "get"): READERS,
    ("/sagas/{saga_id}", "get"): ALL,
    ("/sagas/{saga_id}/cancel", "post"): CUSTOMERS,
    ("/sagas/{saga_id}/retry", "post"): OPERATORS,
    ("/sagas/{saga_id}/settle", "post"): OPERATORS,
    ("/sagas/{saga_id}/resolve", "post"): OPERATORS,
    ("/dead-letters", "get"): READERS,
    ("/dead-letters/{letter_id}", "get"): READERS,
    ("/dead-letters/{letter_id}/replay", "post"): OPERATORS,
    ("/dead-letters/{letter_id}/discard", "post"): OPERATORS,
    ("/orphans", "get"): READERS,
    ("/orphans/{orphan_id}/discard", "post"): OPERATORS,
    ("/admission", "get"): READERS,
    ("/admission/stop", "post"): OPERATORS,
    ("/admission/resume", "post"): OPERATORS,
    ("/consumption", "get"): READERS,
    ("/consumption/pause", "post"): OPERATORS,
    ("/consumption/resume", "post"): OPERATORS,
    ("/stats", "get"): READERS,
    ("/audit", "get"): OPERATORS,
    ("/livez", "get"): ANYBODY,
    ("/readyz", "get"): ANYBODY,
    ("/readyz/api", "get"): ANYBODY,
    ("/health", "get"): ANYBODY,
    ("/metrics", "get"): READERS,
    ("/schema", "get"): ALL,
    ("/schema/openapi.json", "get"): ALL,
    ("/schema/{path}", "get"): ALL,
}
BODY = {"who": "c4n4ry-user-1", "why": "a test", "undo": "revert_payment"}
TOKENS = {role: new_token(f"the-{role.value}", role) for role in Role}


@pytest.fixture
def guarded(stage: Stage) -> Iterator[TestClient[Any]]:
    tokens = Tokens(line for _, line in TOKENS.values())
    with TestClient(create_app(stage.api, AppSettings(tokens=tokens)), raise_server_exceptions=False) as client:
        yield client


def bearer(role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role][0]}"}


def ask(client: TestClient[Any], path: str, method: str, headers: Mapping[str, str]) -> Any:
    place = path.format(saga_id=NOBODY, order_id="nothing", letter_id=1, orphan_id=1, path="nothing")
    if method == "get":
        return client.get(place, headers=dict(headers))
    return client.post(place, json=order() if path == "/orders" else BODY, headers=dict(headers))


def test_the_table_has_every_route_that_the_document_has() -> None:
    assert {route for route in TABLE if not route[0].startswith("/schema")} == ROUTES


def test_the_table_has_every_route_that_the_application_serves(stage: Stage) -> None:
    app = create_app(stage.api, AppSettings())
    served = {
        (route.path_format, method.lower()): roles_of(handler)
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        for method in getattr(handler, "http_methods", ())
        if method != "OPTIONS"
    }
    assert served == TABLE, "say in TABLE for whom a new route is, and in ROUTES of test_edges.py that it is there"


@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route[1]} {route[0]}")
def test_a_route_is_for_its_roles_and_for_nobody_else(guarded: TestClient[Any], route: tuple[str, str]) -> None:
    allowed = TABLE[route]
    if not allowed:
        assert ask(guarded, *route, {}).status_code == 200
        return
    nobody = ask(guarded, *route, {})
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"] == "Bearer"
    assert nobody.headers["content-type"] == "application/problem+json"
    for role in Role:
        answer = ask(guarded, *route, bearer(role))
        assert (answer.status_code == 403) == (role not in allowed), (role, answer.text)
        assert answer.status_code not in (401, 500)


@pytest.mark.parametrize(
    "header",
    [
        "Bearer wrong",
        "Bearer",
        "",
        f"Basic {TOKENS[Role.ADMIN][0]}",
        TOKENS[Role.ADMIN][0],
        f"Bearer {TOKENS[Role.ADMIN][0]}x",
        f"Bearer {TOKENS[Role.ADMIN][1].split(':')[2]}",
        "Bearer ü",
    ],
    ids=["wrong", "none", "empty", "basic", "bare", "longer", "hash", "not-ascii"],
)
def test_a_token_that_is_not_known_is_refused_where_anybody_is_let_in_too(
    guarded: TestClient[Any], header: str
) -> None:
    for path in ("/sagas", "/livez"):
        answer = guarded.get(path, headers=[(b"Authorization", header.encode())])
        assert answer.status_code == 401
        assert TOKENS[Role.ADMIN][0] not in answer.text


def test_who_guesses_is_told_to_wait_and_who_knows_is_not(guarded: TestClient[Any]) -> None:
    found = [guarded.get("/sagas", headers={"Authorization": f"Bearer {n}"}) for n in range(25)]
    assert {answer.status_code for answer in found[:20]} == {401}
    assert found[-1].status_code == 429
    assert int(found[-1].headers["retry-after"]) > 0
    assert guarded.get("/sagas", headers=bearer(Role.VIEWER)).status_code == 200


def test_the_method_is_not_taken_from_a_header(guarded: TestClient[Any]) -> None:
    headers = bearer(Role.VIEWER) | {"X-HTTP-Method-Override": "GET"}
    assert guarded.post("/admission/stop", json=BODY, headers=headers).status_code == 403


def test_a_route_that_says_nothing_is_for_nobody() -> None:
    @get("/forgotten", sync_to_thread=False)
    def forgotten() -> str:
        return "secret"

    for tokens in (None, Tokens([TOKENS[Role.ADMIN][1]])):
        app = Litestar([forgotten], guards=[Access(tokens)], exception_handlers=HANDLERS, openapi_config=None)
        with TestClient(app) as client:
            answer = client.get("/forgotten", headers=bearer(Role.ADMIN))
        assert answer.status_code == 403
        assert "secret" not in answer.text


def test_what_is_done_with_a_token_is_recorded_under_its_name(stage: Stage, guarded: TestClient[Any]) -> None:
    saga_id = stage.place()
    body = {"who": "night-shift", "role": "customer", "why": "the shop has closed"}
    assert guarded.post(f"/sagas/{saga_id}/cancel", json=body, headers=bearer(Role.OPERATOR)).status_code == 202
    last = stage.client.get(f"/sagas/{saga_id}").json()["history"][-1]["body"]
    assert (last["actor"], last["role"]) == ("night-shift (the-operator)", "operator")


def test_a_customer_cancels_their_own_order_only(stage: Stage, guarded: TestClient[Any]) -> None:
    saga_id = stage.place()
    path, headers = f"/sagas/{saga_id}/cancel", bearer(Role.CUSTOMER)
    assert guarded.post(path, json={"who": "user-2"}, headers=headers).status_code == 403
    assert guarded.post(path, json={"why": "mine"}, headers=headers).status_code == 400
    assert guarded.post(path, headers=headers).status_code == 400
    assert stage.client.post(path, json={"who": "user-2"}).status_code == 403, "without tokens too"
    assert stage.client.get(f"/sagas/{saga_id}").json()["status"] == "STARTED"
    assert guarded.post(path, json={"who": "c4n4ry-user-1"}, headers=headers).status_code == 202


def test_a_customer_with_the_longest_id_that_may_be_set_cancels_too(stage: Stage) -> None:
    longest = "c4n4ry" + "x" * 249
    api = replace(stage.api, limits=replace(stage.api.limits, customer_id_chars_max=len(longest)))
    with TestClient(create_app(api, AppSettings(tokens=Tokens([line for _, line in TOKENS.values()])))) as client:
        placed = client.post("/orders", json=order() | {"customer_id": longest}, headers=bearer(Role.CUSTOMER))
        path = f"/sagas/{placed.json()['saga_id']}/cancel"
        assert client.post(path, json={"who": longest}, headers=bearer(Role.CUSTOMER)).status_code == 202
        assert client.post(path, json={"who": longest + "x"}, headers=bearer(Role.CUSTOMER)).status_code == 400


def test_what_services_say_is_told_to_operators_and_not_to_customers(stage: Stage, guarded: TestClient[Any]) -> None:
    saga_id = stage.place()
    hear(stage, saga_id, m.OrderCreated(order_id=f"order-{saga_id}"))
    card = m.PaymentInfo(stripe_customer_id="cus_1", payment_method_id="pm_1")
    hear(stage, saga_id, m.PaymentInfoRetrieved(payment_info=card))
    hear(stage, saga_id, m.PaymentFailed(error="THEIR_CODE"))
    for role in Role:
        found = guarded.get(f"/sagas/{saga_id}", headers=bearer(role)).json()
        assert found["error"] == "The payment could not be processed. Please try again in a few minutes."
        told = str(found).count("THEIR_CODE")
        assert told == (0 if role is Role.CUSTOMER else 3), "in its step, its history, and why a person should look"


@pytest.mark.parametrize("path", ["/readyz", "/readyz/api", "/health"])
def test_who_may_not_read_is_told_which_part_is_not_well_and_not_why(
    stage: Stage, guarded: TestClient[Any], path: str
) -> None:
    """Why names operators, what they wrote, and machines."""
    stage.health[:] = [
        Health(name="database", healthy=False, detail="db-7 refuses connections"),
        Health(name="orders", healthy=True, detail="stopped by op-7: the provider is down"),
    ]
    for role in (None, *Role):
        answer = guarded.get(path, headers=bearer(role) if role else {})
        assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
        parts = answer.json()["parts"]
        assert [(one["name"], one["healthy"]) for one in parts] == [("database", False), ("orders", True)]
        told = [one.detail if role in READERS else "" for one in stage.health]
        assert [one["detail"] for one in parts] == told, role
    assert stage.client.get(path).json()["parts"][1]["detail"], "where nobody is asked who they are, all is told"


def test_who_of_the_staff_stepped_in_is_not_told_to_customers(stage: Stage, guarded: TestClient[Any]) -> None:
    stopped, own = stage.place(), stage.place()
    body = {"who": "Ann of the night shift", "why": "she smelt a rat"}
    guarded.post(f"/sagas/{stopped}/cancel", json=body, headers=bearer(Role.OPERATOR))
    guarded.post(f"/sagas/{own}/cancel", json={"who": "c4n4ry-user-1", "why": "twice"}, headers=bearer(Role.CUSTOMER))
    for role in Role:
        found = guarded.get(f"/sagas/{stopped}", headers=bearer(role))
        assert found.json()["history"][-1]["body"]["role"] == "operator"
        for said in ("Ann", "smelt"):
            assert (said in found.text) is (role is not Role.CUSTOMER)
    last = guarded.get(f"/sagas/{own}", headers=bearer(Role.CUSTOMER)).json()["history"][-1]["body"]
    assert (last["actor"], last["role"], last["why"]) == ("c4n4ry-user-1", "customer", "twice")


def test_an_operator_gives_a_reason(stage: Stage, guarded: TestClient[Any]) -> None:
    path = f"/sagas/{stage.place()}/cancel"
    assert guarded.post(path, json={"who": "night-shift"}, headers=bearer(Role.OPERATOR)).status_code == 400


def test_one_customer_can_order_so_often_and_others_still_can(stage: Stage) -> None:
    api = replace(stage.api, orders_by_customer=Rate(1 / 60, 3))
    with TestClient(create_app(api, AppSettings())) as client:
        found = [client.post("/orders", json=order()) for _ in range(4)]
        assert [answer.status_code for answer in found] == [202, 202, 202, 429]
        assert int(found[-1].headers["retry-after"]) > 0
        assert client.post("/orders", json=order() | {"customer_id": "user-2"}).status_code == 202


@pytest.mark.parametrize(
    "line", ["", "a:b", "a:admin:xyz", f"a b:admin:{'0' * 64}", f"a:chief:{'0' * 64}", f"a:admin:{'0' * 64}:more"]
)
def test_a_line_that_is_no_token_is_refused_without_being_quoted(line: str) -> None:
    with pytest.raises(ValueError, match="token 1") as caught:
        Tokens([line])
    assert "0000" not in str(caught.value)


def test_two_tokens_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        Tokens(new_token("ops", Role.VIEWER)[1] for _ in range(2))


def test_a_rate_lets_a_burst_through_and_then_so_many_a_second() -> None:
    now = 0.0
    rate = Rate(2, 4, keys_max=2, monotonic=lambda: now)
    assert [rate.take("a") for _ in range(5)] == [0, 0, 0, 0, 1]
    now = 0.5
    assert [rate.take("a") for _ in range(2)] == [0, 1]
    now = 60.0
    assert [rate.take("a") for _ in range(5)] == [0, 0, 0, 0, 1]
    rate.take("b")
    rate.take("c")
    assert rate.take("a") == 0, "the one that was quiet longest was forgotten"


def test_whoever_only_looks_changes_nothing(stage: Stage) -> None:
    saga_id = stage.place()
    with TestClient(create_app(stage.api, AppSettings(read_only=True))) as client:
        for path, method in TABLE:
            answer = ask(client, path, method, {})
            assert (answer.status_code == 503) == (method == "post"), path
        assert client.post("/orders", json=order()).json()["type"].endswith("read-only")
        assert client.get(f"/sagas/{saga_id}").status_code == 200
    assert len(stage.client.get("/sagas").json()) == 1


def test_whoever_only_looks_is_asked_who_they_are_first(stage: Stage) -> None:
    tokens = Tokens([TOKENS[Role.VIEWER][1]])
    with TestClient(create_app(stage.api, AppSettings(tokens=tokens, read_only=True))) as client:
        assert client.post("/orders", json=order()).status_code == 401
        assert client.post("/orders", json=order(), headers=bearer(Role.VIEWER)).status_code == 403
