"""A saga out of its row: one that cannot be read is said to be damaged, by its id."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from ordersaga.orchestrator.store.codec_protocol import AnyInstance, InstanceCodec
from ordersaga.orchestrator.store.protocol import DamagedRow


@dataclass(slots=True)
class Decoded:
    """What rows hold, in their order."""

    known: list[AnyInstance] = field(default_factory=list)
    unknown: list[UUID] = field(default_factory=list)
    """Of a saga or version that this process does not know."""
    damaged: list[UUID] = field(default_factory=list)

    def add(self, codec: InstanceCodec, row: Sequence[Any]) -> None:
        """`row`: as for `decoded`."""
        try:
            one = decoded(codec, row)
        except DamagedRow:
            self.damaged.append(row[0])
            return
        if one is None:
            self.unknown.append(row[0])
        else:
            self.known.append(one)


def decoded(codec: InstanceCodec, row: Sequence[Any]) -> AnyInstance | None:
    """`row`: id, saga, version, state, personal data. None: of a saga or version that is not known. Raises
    `DamagedRow`.
    """
    saga_id, saga, version, state, personal = row
    if not codec.knows(saga, version):
        return None
    try:
        return codec.decode(saga, version, state, personal)
    except msgspec.DecodeError as error:
        raise DamagedRow(saga_id, str(error)) from error
