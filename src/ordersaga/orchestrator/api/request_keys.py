"""`Idempotency-Key`: a client that got no answer asks again, and has ordered once.

The key belongs to the customer who is named in the order, and to that order: the same key with another one is a mistake
of the client's. What is kept is a digest of both and nothing personal, for two days.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from ordersaga.orchestrator.api.asking import AnyRequest, Api
from ordersaga.orchestrator.runtime.verbs import Asked
from ordersaga.orchestrator.store.protocol import RequestKey
from ordersaga.web.problems import Refused
from ordersaga.web.reading import header_of
from ordersaga.wire.errors import WireError

HEADER = "Idempotency-Key"
IN_FLIGHT = "key-in-flight", f"The first request with this {HEADER} is still being answered: ask again in a second."
"""Kind and words of the 409 for whoever asks meanwhile."""
_NAME = HEADER.lower().encode()
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def request_of(request: AnyRequest, customer_id: str, body: dict[str, Any]) -> Asked | None:
    """None where the client gave no key. Raises `WireError`."""
    key = header_of(request, _NAME)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise WireError(HEADER, "must be 1 to 255 printable ASCII characters without spaces")
    principal = hashlib.sha256(customer_id.encode()).hexdigest()
    return principal, key, hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()


class InHand:
    """The keys whose first request is being answered by this process. Where another process has it, the database lets
    the second wait, and it is answered like the first.
    """

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()

    @contextmanager
    def taken(self, asked: Asked | None) -> Iterator[None]:
        """Raises `Refused` where it is taken already."""
        if asked is None:
            yield
            return
        key = asked[:2]
        if key in self._keys:
            raise Refused(409, *IN_FLIGHT, retry_after_seconds=1)
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)


def known(api: Api, asked: Asked) -> RequestKey | None:
    """What was ordered under this key before. Raises `Refused` where that was something else."""
    principal, key, fingerprint = asked
    found = api.store.request(principal, key)
    if found is not None and found.fingerprint != fingerprint:
        why = f"This {HEADER} was used for another order: take a new one for each."
        raise Refused(422, "key-reused", why)
    return found
