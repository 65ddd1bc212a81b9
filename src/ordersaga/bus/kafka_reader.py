"""Reading back what is in the log."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ordersaga.bus.kafka_client import TopicPartition, as_record, place, translated
from ordersaga.bus.kafka_insides import leave_none_out
from ordersaga.bus.protocol import BusUnavailable, Record


class ReaderSession:
    """Reads partitions from a time on, to another or to the end that they have now, without a group."""

    def __init__(self, client: Any) -> None:
        self._client = client
        leave_none_out(client._fetcher)

    def read(
        self,
        partitions: Sequence[TopicPartition],
        since_ms: int,
        until: float,
        before_ms: int | None = None,
        *,
        idle_seconds: float | None = None,
    ) -> Iterator[Record]:
        """`until`: by when it is done, on the monotonic clock; with `idle_seconds` so long after the last record."""
        tps = [place(topic, partition) for topic, partition in partitions]
        with translated():
            self._client.assign(tps)
            ends = self._client.end_offsets(tps, timeout_ms=_left_ms(until))
            if before_ms is not None:
                found = self._client.offsets_for_times(dict.fromkeys(tps, before_ms), timeout_ms=_left_ms(until))
                ends |= {tp: first.offset for tp, first in found.items() if first is not None}
            starts = self._client.offsets_for_times(dict.fromkeys(tps, since_ms), timeout_ms=_left_ms(until))
            open_ends = {tp: ends[tp] for tp in tps if starts[tp] is not None and starts[tp].offset < ends[tp]}
            self._client.assign(list(open_ends))
            for tp in open_ends:
                self._client.seek(tp, starts[tp].offset)
        while open_ends:
            with translated():
                polled = self._client.poll(timeout_ms=min(_left_ms(until), 500))
                for tp, batch in polled.items():
                    yield from (as_record(read) for read in batch if read.offset < ends[tp])
                if polled and idle_seconds is not None:
                    until = time.monotonic() + idle_seconds
                for tp in list(open_ends):
                    if (self._client.position(tp, timeout_ms=_left_ms(until)) or 0) >= open_ends[tp]:
                        del open_ends[tp]
                        self._client.pause(tp)  # else it is read on while others are not done

    def close(self) -> None:
        self._client.close(autocommit=False, timeout_ms=1_000)


def _left_ms(until: float) -> int:
    left = until - time.monotonic()
    if left <= 0:
        raise BusUnavailable("reading took too long")
    return max(1, int(left * 1000))
