"""The sagas that this process knows, by name and version."""

from collections.abc import Iterable, Iterator
from typing import Any

from ordersaga.orchestrator.core.definition import Definition, DefinitionError
from ordersaga.orchestrator.core.instance import Instance, SagaData


class Sagas:
    """Definitions by name and version. An instance keeps the version that it started with."""

    def __init__(self, definitions: Iterable[Definition]) -> None:
        self._by_version: dict[tuple[str, int], Definition] = {}
        for definition in definitions:
            if self._by_version.setdefault((definition.name, definition.version), definition) is not definition:
                raise DefinitionError(f"{definition.name} version {definition.version} is defined twice")

    def of(self, instance: Instance[Any]) -> Definition:
        return self._by_version[instance.saga, instance.version]

    def newest(self, name: str) -> Definition:
        return self._by_version[max(key for key in self._by_version if key[0] == name)]

    def data_types(self) -> dict[tuple[str, int], type[SagaData]]:
        return {key: definition.data for key, definition in self._by_version.items()}

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._by_version.values())
