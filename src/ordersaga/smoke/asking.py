"""One HTTP service as its clients see it, with nothing but Python: an answer, or why there was none."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

ANSWER_SECONDS = 10.0
_BODY_BYTES_MAX = 10_000_000


class Unanswered(Exception):
    """There was no answer, or none that is JSON: the message says why."""

    retriable = True


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any

    @property
    def detail(self) -> str:
        """What the service says of a refusal."""
        told = self.body.get("detail") or self.body.get("status") if isinstance(self.body, dict) else None
        return f"{self.status}: {told}" if told else str(self.status)

    @property
    def kind(self) -> str:
        """The last part of a problem's type."""
        return str(self.body.get("type", "")).rpartition(":")[2] if isinstance(self.body, dict) else ""


class Service:
    def __init__(self, url: str, token: str = "", *, timeout_seconds: float = ANSWER_SECONDS) -> None:
        """`url` may have a path, where the service stands behind one, and no name or password: it is told of."""
        parts = urlsplit(url.rstrip("/"))
        self._names_somebody = "@" in parts.netloc
        self._parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self.url = self._parts.geturl()
        self._token = token
        self._timeout_seconds = timeout_seconds

    def anonymous(self) -> "Service":
        """The same without a token."""
        return Service(self.url, timeout_seconds=self._timeout_seconds)

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Raises `Unanswered`."""
        if self._names_somebody:
            raise Unanswered(f"{self.url} was given with a name or a password before an @, which nobody is sent")
        connection = self._connection()
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, self._parts.path + path, text, self._headers(text, headers or {}))
            with connection.getresponse() as answer:
                content = answer.read(_BODY_BYTES_MAX)
            return Answer(answer.status, json.loads(content) if content else None)
        except ValueError:
            raise Unanswered(f"{self.url}{path} answers, but not as ordersaga does: this is another service") from None
        except (OSError, HTTPException) as error:
            raise Unanswered(f"{self.url}: {_why(error, self._timeout_seconds)}") from error
        finally:
            connection.close()

    def _connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        try:
            return kind(self._parts.netloc, timeout=self._timeout_seconds)
        except HTTPException as error:
            raise Unanswered(f"{self.url} is no address: {error}") from None

    def _headers(self, text: str | None, more: Mapping[str, str]) -> dict[str, str]:
        found = {"Accept": "application/json", **more}
        if text is not None:
            found["Content-Type"] = "application/json"
        if self._token:
            found["Authorization"] = f"Bearer {self._token}"
        return found


def _why(error: Exception, timeout_seconds: float) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {timeout_seconds:g} s"
        case ConnectionRefusedError():
            return "nobody listens there"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case OSError():
            return error.strerror or str(error) or type(error).__name__
        case _:
            return f"no HTTP: {type(error).__name__}"
