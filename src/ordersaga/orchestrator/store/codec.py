"""Instances as JSON and back, under the names of their fields; personal data apart."""

from collections.abc import Collection, Mapping
from typing import Any, get_type_hints

import msgspec
from msgspec.structs import replace

from ordersaga.orchestrator.core.instance import Instance, SagaData

AnyInstance = Instance[Any]


class Codec:
    """Knows the data type of each saga and version; has a decoder ready for each."""

    def __init__(self, data_types: Mapping[tuple[str, int], type[SagaData]]) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._states = {key: _decoder_of(data) for key, data in data_types.items()}
        hints = {key: get_type_hints(data)["personal"] for key, data in data_types.items()}
        self._personal = {key: msgspec.json.Decoder(hint) for key, hint in hints.items()}

    @property
    def known(self) -> Collection[tuple[str, int]]:
        return self._states.keys()

    def knows(self, saga: str, version: int) -> bool:
        return (saga, version) in self._states

    def decode(self, saga: str, version: int, state: bytes, personal: bytes | None) -> AnyInstance:
        instance: AnyInstance = self._states[saga, version].decode(state)
        if personal is None:
            return instance
        data = replace(instance.data, personal=self._personal[saga, version].decode(personal))
        return replace(instance, data=data)

    def encode(self, instance: AnyInstance) -> bytes:
        """The state without what belongs to a person."""
        return self._encode(replace(instance, data=replace(instance.data, personal=None)))

    def encode_personal(self, data: SagaData) -> bytes | None:
        return None if data.personal is None else self._encode(data.personal)


def _decoder_of(data: Any) -> msgspec.json.Decoder[AnyInstance]:
    return msgspec.json.Decoder(Instance[data])
