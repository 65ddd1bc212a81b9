"""Means that reach a participant which runs elsewhere: its HTTP endpoints, and commands of its owner's.

The endpoints are those that the platform names for its participants: `/orders/{id}`, `/payments/{id}`, `/timers/{id}`,
`/notifications`. They show one row for an id that the participant gave out, so what was done twice and never named
stays unseen; a command that reads the service's own tables sees it.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from ordersaga.orchestrator.core.reconcile import GONE
from ordersaga.testing.conformance.subject import Case, Effect, MeansFailed, NotOffered
from ordersaga.wire.topics import Participant

RUNNER = "runner-conformance"
_HTTP_SECONDS = 10.0
_NOT_OFFERED = (404, 405, 501)
_COMMAND_SECONDS = 120.0
_OVER = GONE - {"PENDING"} | {"EXPIRED"}
"""Of payments as the reconciliation reads them, but for what nobody knows yet; orders are cancelled, timers expire."""
_OVER_BEGINS = tuple(_OVER - {"FAILED"})
"""Longer words are over too: `CANCELLED_BEFORE_CREATED`. But what failed to be given back is not."""


@dataclass(frozen=True)
class HttpDesk:
    """The endpoints of one participant: its ledger, and a desk where runners accept."""

    url: str
    participant: Participant
    authorization: str = ""

    def effects(self, case: Case) -> Sequence[Effect]:
        if self.participant is Participant.NOTIFICATION:
            kept = self._get(f"/notifications?customer_id={quote(case.customer_id, safe='')}") or []
            return [Effect(effect_id=str(one.get("id")), stands=True) for one in kept]
        if self.participant is Participant.USER:
            return []
        if self.participant is Participant.TIMER:
            return self._rows("/timers", [case.order_id])
        return self._rows(f"/{self.participant.value}s", case.named)

    def accept(self, order_id: str) -> None:
        ask(self.url, "POST", f"/orders/{quote(order_id, safe='')}/accept", {"runner_id": RUNNER}, self.authorization)

    def give_back(self, order_id: str) -> None:
        ask(self.url, "POST", f"/orders/{quote(order_id, safe='')}/give-back", {}, self.authorization)

    def _rows(self, path: str, ids: Sequence[str]) -> list[Effect]:
        """One for each thing, by whatever names it is found."""
        found = {json.dumps(row): row for one in ids if (row := self._get(f"{path}/{quote(one, safe='')}"))}
        return [_effect(row) for row in found.values()]

    def _get(self, path: str) -> Any:
        """None where there is no such thing."""
        content = ask(self.url, "GET", path, None, self.authorization)
        try:
            return None if content is None else json.loads(content)
        except ValueError as error:
            raise MeansFailed(f"GET {self.url}{path}: no JSON: {content!r:.200}") from error


@dataclass(frozen=True)
class CommandLedger:
    """A command that prints a line of JSON for each effect of the saga in its environment:

    {"id": "pi_1", "stands": true, "amount_cents": 1020}
    """

    command: str

    def effects(self, case: Case) -> Sequence[Effect]:
        lines = run(self.command, SAGA_ID=case.saga_id, ORDER_ID=case.order_id, CUSTOMER_ID=case.customer_id)
        try:
            rows = [json.loads(line) for line in lines.splitlines() if line.strip()]
            return [
                Effect(effect_id=str(row["id"]), stands=bool(row["stands"]), amount_cents=row.get("amount_cents"))
                for row in rows
            ]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise MeansFailed(
                f"{self.command!r} has to print lines of JSON with id and stands, and printed {lines[:200]!r}"
            ) from error


@dataclass(frozen=True)
class CommandDesk:
    """A command that plays a runner: it does ACT, which is `accept` or `give-back`, to ORDER_ID, as RUNNER_ID.

    It ends with 0 where that was done, with 69 where no runner can do such a thing, and else where it was refused.
    """

    command: str

    def accept(self, order_id: str) -> None:
        run(self.command, ACT="accept", ORDER_ID=order_id, RUNNER_ID=RUNNER)

    def give_back(self, order_id: str) -> None:
        run(self.command, ACT="give-back", ORDER_ID=order_id, RUNNER_ID=RUNNER)


def restart_by(how: str) -> Callable[[], None]:
    """A command to run, or a URL to post to, that kills a participant and starts it again."""
    if how.startswith(("http://", "https://")):
        return lambda: ignored(ask(how, "POST", "", {}, seconds=_COMMAND_SECONDS))
    return lambda: ignored(run(how))


def ignored(answer: Any) -> None:
    """It did what was asked; what it says of it is of no interest."""


def ask(
    url: str, method: str, path: str, body: Any, authorization: str = "", *, seconds: float = _HTTP_SECONDS
) -> bytes | None:
    """What it answers; None for a GET of what does not exist. Raises `MeansFailed`, and `NotOffered` where there is
    nothing of the kind.
    """
    address = urlsplit(url)
    connect = HTTPSConnection if address.scheme == "https" else HTTPConnection
    connection = connect(address.netloc, timeout=seconds)
    headers = {"Content-Type": "application/json", **({"Authorization": authorization} if authorization else {})}
    target = (address.path.rstrip("/") + path or "/") + (f"?{address.query}" if address.query else "")
    try:
        connection.request(method, target, None if body is None else json.dumps(body), headers)
        with connection.getresponse() as answer:
            content = answer.read()
    except (OSError, HTTPException, ValueError) as error:
        raise MeansFailed(f"{method} {url}{path}: {error}") from error
    finally:
        connection.close()
    if answer.status == 404 and method == "GET":
        return None
    if answer.status >= 400:
        failed = NotOffered if answer.status in _NOT_OFFERED else MeansFailed
        raise failed(f"{method} {url}{path}: {answer.status} {content.decode(errors='replace')[:200]}")
    return content


def run(command: str, **environment: str) -> str:
    """What it printed. Raises `MeansFailed`, and `NotOffered` where it ends with 69."""
    try:
        ended = subprocess.run(  # noqa: S603 (the command is the caller's own)
            shlex.split(command),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise MeansFailed(f"{command!r}: {error}") from error
    if ended.returncode:
        failed = NotOffered if ended.returncode == os.EX_UNAVAILABLE else MeansFailed
        raise failed(f"{command!r} ended with {ended.returncode}: {ended.stderr.strip()[-200:]}")
    return ended.stdout


def _effect(row: dict[str, Any]) -> Effect:
    status = str(row.get("status")).upper()
    cents = row.get("amount_cents")
    return Effect(
        effect_id=str(row.get("payment_id") or row.get("order_id") or row.get("id")),
        stands=status not in _OVER and not status.startswith(_OVER_BEGINS),
        amount_cents=cents if isinstance(cents, int) else None,
    )
