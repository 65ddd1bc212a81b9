"""What PostgreSQL would refuse in a text or a document, for the store that is not PostgreSQL."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from ordersaga.bus.protocol import Outgoing
from ordersaga.orchestrator.store.protocol import BadRow, Batch, KeyTaken, RequestKey

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""As JSON has it; a backslash before it that is not itself escaped makes it plain text."""


def records_of(batch: Batch) -> list[Outgoing]:
    return [*(message for change in batch.changes for message in change.messages), *batch.messages]


def check_batch_storable(batch: Batch) -> None:
    """What a text or a document of the database cannot hold. Raises `BadRow`."""
    texts: list[str | None] = [record.topic for record in records_of(batch)]
    for change in batch.changes:
        texts += [change.after.step, *(entry.cause for entry in change.history)]
    texts += [orphan.type for orphan in batch.orphans]
    try:
        if any("\0" in text for text in texts if text is not None and text.encode()):
            raise BadRow("a text has the character NUL")
        bodies = [msgspec.json.encode(entry.body) for change in batch.changes for entry in change.history]
    except ValueError as error:
        raise BadRow(str(error)) from error
    check_documents(*bodies)


def check_documents(*documents: bytes) -> None:
    if any(_NUL.search(document) for document in documents):
        raise BadRow("a document has the character NUL")


def free_keys(
    known: Mapping[tuple[str, str], RequestKey], new: Sequence[RequestKey]
) -> dict[tuple[str, str], RequestKey]:
    """Raises `KeyTaken`."""
    added = {(one.principal, one.key): one for one in new}
    if len(added) < len(new) or added.keys() & known.keys():
        raise KeyTaken("a request key is there already")
    return added
