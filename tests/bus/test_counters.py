"""What a bus counts."""

from ordersaga.bus.kafka import KafkaBus


def test_whatever_went_wrong_reads_as_none_yet() -> None:
    """Prometheus takes the first value that it sees for where a counter began."""
    bus = KafkaBus("localhost:1")
    assert dict(bus.counters) == {
        "consumer_partitions_unreadable": 0,
        "consumer_records_gone": 0,
        "consumer_rebuilds.away": 0,
        "consumer_rebuilds.error": 0,
        "consumer_rebuilds.fenced": 0,
        "consumer_rebuilds.stalled": 0,
        "producer_rebuilds.fatal": 0,
        "producer_rebuilds.stuck": 0,
    }
