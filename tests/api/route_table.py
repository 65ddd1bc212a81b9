"""Draws docs/routes.md: every route that the application and the participants serve, whom it is for, what it answers.

python -m tests.api.route_table > docs/routes.md
"""

import sys
from collections.abc import Iterator
from typing import Any

from litestar import Litestar

from ordersaga.orchestrator.api.app import AppSettings, create_app
from ordersaga.participants.http import DESKS
from ordersaga.tokens import Role
from ordersaga.web.access import roles_of
from ordersaga.wire.topics import Participant
from tests.api.conftest import stage_of

HEAD = """# Every route

Drawn from the application by `make routes`; a test holds this page equal to it. Each line is tried by tests: with
each role, with no token and with a wrong one (`tests/api/test_access.py`), and by generated requests over a store in
which there is something of everything (`tests/api/test_every_role.py`), whose answers have to be among those of the
last column.

A dot is a role that may; `anybody` needs no token. Who may not is answered 403, who has no token 401, who tries too
many wrong ones 429, and so is `POST /orders` for a customer who orders too often; these are left out below. What a
route is for stands in [Running it](running.md#http).

| method | path | customer | viewer | operator | admin | answers |
|---|---|---|---|---|---|---|"""
PARTICIPANTS = """

## At the reference participants

They know no tokens: without `ORDERSAGA_AUTH=none` they listen to this machine only. Tried by
`tests/participants/test_http.py`.

| service | method | path |
|---|---|---|"""
LEFT_OUT = {"401", "403", "429", "500"}


def page(app: Litestar) -> str:
    rows = sorted(_rows(app), key=lambda row: (row[1].strip("`"), row[0]))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    desks = [f"| {' | '.join(row)} |" for row in _desks()]
    return "\n".join([HEAD, *lines]) + "\n".join([PARTICIPANTS, *desks]) + "\n"


def _rows(app: Litestar) -> Iterator[tuple[str, ...]]:
    described: Any = app.openapi_schema.to_schema()["paths"]
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            roles = roles_of(handler) or frozenset()
            for method in sorted(set(getattr(handler, "http_methods", ())) - {"OPTIONS"}):
                answers = described.get(route.path_format, {}).get(method.lower(), {}).get("responses", {})
                marks = [("•" if role in roles else "") if roles else "anybody" for role in Role]
                said = ", ".join(sorted(set(answers) - LEFT_OUT)) or "200"
                yield method, f"`{route.path_format}`", *marks, said


def _desks() -> Iterator[tuple[str, str, str]]:
    for participant, desk in DESKS.items():
        yield participant.value, "GET", f"`{_plain(desk.look)}`"
        for act in desk.acts:
            yield participant.value, act.changes.__name__.upper(), f"`{_plain(act.path)}`"
    yield Participant.NOTIFICATION.value, "GET", "`/notifications?customer_id=`"
    yield "each", "GET", "`/health`"


def _plain(path: str) -> str:
    return path.replace("{name:str}", "{id}")


if __name__ == "__main__":
    sys.stdout.write(page(create_app(stage_of(None, [], [])[0], AppSettings())))
