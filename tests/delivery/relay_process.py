"""A process for the crash tests: commits rows, publishes them into a file, and dies where the environment says.

Arguments: file, owner's number, what to commit (values, separated by commas; may be empty). The database is in
`DATABASE_URL`: arguments are for everybody to see, and there is a password in it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from psycopg_pool import ConnectionPool

from ordersaga.bus.protocol import Outcome, Outgoing, Published
from ordersaga.delivery import failpoints
from ordersaga.delivery.outbox import PostgresOutbox, write, written
from ordersaga.delivery.relay import Relay
from ordersaga.delivery.relay_pace import RelayPace


class FileProducer:
    """The log is a file: one line for each record, on the disk before it is acknowledged."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("ab", buffering=0)  # noqa: SIM115 - open as long as the process

    def publish(self, records: Sequence[Outgoing], timeout_seconds: float) -> Sequence[Outcome]:
        self._file.write(b"".join(record.value + b"\n" for record in records))
        return [Outcome(Published.ACKNOWLEDGED)] * len(records)

    def partition(self, topic: str, key: bytes) -> int | None:
        return None

    def cut_off(self) -> bool:
        return False

    def close(self, timeout_seconds: float) -> None:
        self._file.close()


def main(url: str, path: str, number: str, values: str) -> None:
    failpoints.arm_from_environment()
    with ConnectionPool(url, min_size=1, max_size=3, open=True) as pool:
        outbox = PostgresOutbox(pool, UUID(int=int(number)), lease_seconds=1.0)
        relay = Relay(FileProducer(path), outbox, RelayPace(scan_interval_seconds=0.1, left_behind_after_seconds=0.1))
        relay.start()
        assert relay.wait_until_leased(10.0)
        with pool.connection() as connection, connection.cursor() as cursor:
            records = [Outgoing("t", value[:1].encode(), value.encode()) for value in values.split(",") if value]
            write(cursor, records, outbox.owner, outbox.server)
            rows = written(cursor, records)
        relay.offer(rows)
        sys.stdin.read()
        relay.stop(5.0)


if __name__ == "__main__":
    main(os.environ["DATABASE_URL"], *sys.argv[1:])
