"""What a store raises. See `protocol`."""

from uuid import UUID


class StoreError(Exception):
    """The store could not do what was asked.

    StoreError
    ├── StoreUnavailable   not reachable, restarting, too busy, read-only, a deadlock: try again (retriable)
    │   ├── CommitUnknown  the answer to COMMIT was lost: find out by loading again (retriable)
    │   ├── WriteRefused   it answers and takes nothing in: no room on its disk, no right (retriable)
    │   └── SchemaInUse    a migration found no moment without others: try again, each time later (retriable)
    ├── StaleWrite         an instance was changed since it was loaded: load it again, decide anew (retriable)
    ├── Unclaimed          an event is kept for an id that was learnt: claim it first, decide anew (retriable)
    ├── KeyTaken           a request key is there already: look what was wished for under it
    ├── UnknownVersion     a saga that this process does not know, or does not run as it is set: ask another (retriable)
    ├── DamagedRow         what the row of a saga holds is no saga: a person has to put it right
    ├── BadRow             the database refuses what a row holds: split the batch, then park the record
    └── SchemaMismatch     the schema is newer or older than this version can use: migrate first
    """

    retriable = False


class StoreUnavailable(StoreError):
    retriable = True


class CommitUnknown(StoreUnavailable):
    pass


class WriteRefused(StoreUnavailable):
    pass


class SchemaInUse(StoreUnavailable):
    holds_up_others = True
    """Whoever comes while it is tried waits behind it."""


class StaleWrite(StoreError):
    retriable = True


class Unclaimed(StoreError):
    retriable = True


class KeyTaken(StoreError):
    pass


class BadRow(StoreError):
    pass


NOT_RUN_HERE = (
    "of a version that this ordersaga does not know or does not run as it is set: ask a newer one, or give it the"
    " settings of the service"
)


class UnknownVersion(StoreError):
    retriable = True

    def __init__(self, saga_id: UUID) -> None:
        super().__init__(f"the saga {saga_id} is {NOT_RUN_HERE}")


class DamagedRow(StoreError):
    def __init__(self, saga_id: UUID, why: str) -> None:
        super().__init__(f"the row of the saga {saga_id} is damaged: {why}")


class SchemaMismatch(StoreError):
    pass
