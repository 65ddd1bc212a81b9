"""Front ends of other origins: what a browser has to be told so that it hands them an answer.

Without it they see a network error, and neither why they were refused nor when to come back. The application says it of
its answers; the gate, which stands before the application, says it of its own, by the same rules.
"""

from litestar.config.cors import CORSConfig
from litestar.types import HTTPScope


class Origins:
    def __init__(self, config: CORSConfig | None = None) -> None:
        """`config`: the application's. None: no other origin is told anything."""
        self._config = config
        told = {} if config is None else config.simple_headers | {"Vary": "Origin"}
        self._told = [(name.lower().encode(), value.encode()) for name, value in told.items()]

    def told(self, scope: HTTPScope) -> list[tuple[bytes, bytes]]:
        """The headers for an answer to this request; none where its origin is not allowed."""
        origin = self._allowed_one(scope)
        return [(b"access-control-allow-origin", origin), *self._told] if origin is not None else []

    def asks_beforehand(self, scope: HTTPScope) -> bool:
        """Whether it is a browser's question whether it may ask: it costs nothing, and without an answer the browser
        does not ask at all.
        """
        return scope["method"] == "OPTIONS" and self._allowed_one(scope) is not None

    def _allowed_one(self, scope: HTTPScope) -> bytes | None:
        if self._config is None:
            return None
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        return origin if origin and self._config.is_origin_allowed(origin.decode("latin-1")) else None
