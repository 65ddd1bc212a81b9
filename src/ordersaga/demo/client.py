"""The demo as a client of the API: it sees what any front end sees."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

FINAL = frozenset({"COMPLETED", "COMPENSATED", "CANCELLED", "FAILED"})


class Unanswered(Exception):
    """The API did not answer, or not with what was asked for. `detail` is what it says of that."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class Api:
    def __init__(self, url: str) -> None:
        self.url = url
        self._address = urlsplit(url).netloc

    def place(self, order: dict[str, Any], headers: Mapping[str, str] | None = None) -> str:
        """Post an order; returns the saga's id."""
        return str(self._ask("POST", "/orders", order, headers)["saga_id"])

    def saga(self, saga_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("GET", f"/sagas/{saga_id}")
        return found

    def cancel(self, saga_id: str, why: str) -> None:
        """As its customer. Raises `Unanswered` where it is refused."""
        self._ask("POST", f"/sagas/{saga_id}/cancel", {"why": why})

    def accept(self, order_id: str, runner_id: str) -> None:
        """At the order service, as a runner. Raises `Unanswered` where it is refused."""
        self._ask("POST", f"/orders/{order_id}/accept", {"runner_id": runner_id})

    def newest(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", "/sagas")
        return found

    def ready(self, path: str = "/readyz") -> bool:
        """Participants say it at `/health`."""
        try:
            self._ask("GET", path)
        except Unanswered:
            return False
        return True

    def _ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
        connection = HTTPConnection(self._address, timeout=5)
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
            with connection.getresponse() as answer:
                content = answer.read()
            if answer.status >= 400:
                told = content.decode(errors="replace")[:300]
                raise Unanswered(f"{method} {path}: {answer.status} {told}", _detail(content))
            return json.loads(content) if content else None
        except (OSError, HTTPException, ValueError) as error:
            raise Unanswered(f"{method} {path}: {error}") from error
        finally:
            connection.close()


def _detail(content: bytes) -> str:
    try:
        return str(json.loads(content)["detail"])
    except (ValueError, LookupError, TypeError):
        return ""
