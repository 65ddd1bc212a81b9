"""The sagas that this process knows, by name and version."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ordersaga.orchestrator.core.definition import Definition, DefinitionError, Undo
from ordersaga.orchestrator.core.instance import Instance, SagaData
from ordersaga.wire.messages import Event


class Sagas:
    """Definitions by name and version. An instance keeps the version that it started with."""

    def __init__(self, definitions: Iterable[Definition], begins: Mapping[str, int] | None = None) -> None:
        """`begins`: which version new sagas of a name have; the newest, where it does not say."""
        self._by_version: dict[tuple[str, int], Definition] = {}
        for definition in definitions:
            if self._by_version.setdefault((definition.name, definition.version), definition) is not definition:
                raise DefinitionError(f"{definition.name} version {definition.version} is defined twice")
        versions = dict(sorted(self._by_version)) | dict(begins or {})
        self._newest = {name: self._by_version[name, version] for name, version in versions.items()}
        self.unasked = frozenset(event for definition in self for event in definition.facts)
        """Events that answer no command of any saga."""
        self._undos_answered_by: dict[type[Event], list[Undo]] = {}
        for undo in (undo for definition in self for undo in definition.undos()):
            for event in (undo.ask.ok, undo.ask.refused):
                self._undos_answered_by.setdefault(event, []).append(undo)

    def may_come_unasked(self, event: Event) -> bool:
        """Whether it may be of a person's or another service's making: such an event may overtake the answer that
        brings the id by which it is found.
        """
        if type(event) in self.unasked:
            return True
        undos = self._undos_answered_by.get(type(event), ())
        return any(undo.gone(event) or (type(event) is undo.ask.ok and undo.ask.expected(event)) for undo in undos)

    def of(self, instance: Instance[Any]) -> Definition:
        return self._by_version[instance.saga, instance.version]

    def find(self, name: str, version: int) -> Definition | None:
        """None for what another version of this software knows."""
        return self._by_version.get((name, version))

    def names(self) -> list[str]:
        return sorted({name for name, _ in self._by_version})

    def knows(self, name: str) -> bool:
        """Whether sagas of this name are begun here."""
        return name in self._newest

    def newest(self, name: str) -> Definition:
        return self._newest[name]

    def data_types(self) -> dict[tuple[str, int], type[SagaData]]:
        return {key: definition.data for key, definition in self._by_version.items()}

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._by_version.values())
