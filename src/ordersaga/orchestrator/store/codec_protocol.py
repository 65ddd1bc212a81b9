"""What a store asks of whoever turns instances into JSON and back. The one there is, `store.codec`, is built from the
definitions.
"""

from collections.abc import Collection
from typing import Any, Protocol

from ordersaga.orchestrator.core.instance import Instance, SagaData

AnyInstance = Instance[Any]


class InstanceCodec(Protocol):
    """Knows the data type of each saga and version."""

    @property
    def known(self) -> Collection[tuple[str, int]]:
        """Names and versions."""

    def knows(self, saga: str, version: int) -> bool: ...

    def decode(self, saga: str, version: int, state: bytes, personal: bytes | None) -> AnyInstance: ...

    def encode(self, instance: AnyInstance) -> bytes:
        """The state without `data.personal`."""

    def encode_personal(self, data: SagaData) -> bytes | None: ...
