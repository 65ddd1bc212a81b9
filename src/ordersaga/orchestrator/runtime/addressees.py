"""Which sagas a letter concerns, of those that were loaded: the one that it names, or those with its order or payment.

An answer that names a saga of ours, by an id of our kind, is for that saga alone, though its order be another's too:
where the saga is nowhere it is an orphan. By order and payment goes what names none, and what may be of another's
making: whoever makes it may have ids of the same kind.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

from ordersaga.orchestrator.runtime.intake import Letter
from ordersaga.orchestrator.store.protocol import Loaded
from ordersaga.orchestrator.store.references import references_in


class Addressees:
    """Of one transaction."""

    def __init__(self, loaded: Loaded, may_come_unasked: Callable[[Any], bool]) -> None:
        self._loaded = loaded
        self._may_come_unasked = may_come_unasked

    def of(self, letter: Letter) -> Sequence[UUID]:
        saga_id = letter.envelope.saga_id
        if saga_id is not None and saga_id in self._loaded.instances:
            return (saga_id,)
        having = [having for one in sorted(self._references(letter)) for having in self._having.get(one, ())]
        return list(dict.fromkeys(having))

    def unknown(self, letter: Letter) -> bool:
        """Whether it concerns a saga that this version cannot load: it must be read again by one that can."""
        if not self._loaded.unknown_versions:
            return False
        saga_id = letter.envelope.saga_id
        if saga_id in self._loaded.unknown_versions:
            return True
        if saga_id in self._loaded.instances:
            return False
        return not self._references(letter).isdisjoint(self._loaded.unknown_references)

    def _references(self, letter: Letter) -> set[str]:
        """By which it was looked for; see `Intake.lookup`."""
        if letter.saga_id is not None and not self._may_come_unasked(letter.envelope.body):
            return set()
        return references_in(letter.envelope.body)

    @cached_property
    def _having(self) -> Mapping[str, Sequence[UUID]]:
        """By order and payment. Needed by few, and made once."""
        found: dict[str, list[UUID]] = {}
        for saga_id, instance in self._loaded.instances.items():
            for reference in references_in(instance.data):
                found.setdefault(reference, []).append(saga_id)
        return found
