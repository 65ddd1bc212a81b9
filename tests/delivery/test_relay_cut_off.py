"""Who gives its rows up, at the end of its lease or of its life, writes nothing of them any more."""

from collections.abc import Sequence

from ordersaga.bus.protocol import Outgoing

from .house import LEASE_SECONDS, Gate, House, Process
from .stage import ONE, TWO, BufferingProducer

LEASE_OF_OWN_CLOCK_SECONDS = LEASE_SECONDS * 0.8
EVERYTHING = {"register", "beat", "release", "acknowledged", "still_there", "take_over", "left_behind"}


def cut_off_from_all(house: House, log: list[Outgoing]) -> tuple[Process, BufferingProducer]:
    """A process that has handed a record to its client when it lost the network."""
    producer = BufferingProducer(house.stage, log)
    one = house.process(ONE, producer=producer).start()
    producer.away, one.outbox.away = True, EVERYTHING
    one.send(b"a")
    one.until(lambda: bool(producer.buffer), "the client has the record")
    return one, producer


def reader_of(log: list[Outgoing]) -> object:
    def written_since(records: Sequence[Outgoing], *_: object) -> list[bool]:
        return [record in log for record in records]

    return written_since


def other(house: House, log: list[Outgoing]) -> Process:
    return house.process(TWO, producer=BufferingProducer(house.stage, log), was_written=reader_of(log)).start()


# --- the end of the lease ------------------------------------------------------------------------------------


def test_what_waits_in_a_client_without_a_network_is_not_written_when_others_own_it(house: House) -> None:
    log: list[Outgoing] = []
    _, producer = cut_off_from_all(house, log)
    house.clock.advance(LEASE_OF_OWN_CLOCK_SECONDS)
    house.stage.until(lambda: producer.cuts > 0, "the client is cut off")
    assert house.clock.monotonic() < house.table.lease_until[ONE], "before the lease has ended for others"

    house.clock.advance(LEASE_SECONDS)
    other(house, log)
    house.until_empty()
    producer.heal()
    assert [record.value for record in log] == [b"a"]


def test_a_client_is_cut_off_also_while_a_publication_hangs(house: House, one: Process) -> None:
    gate = Gate(one.producer)
    one.send(b"a")
    assert gate.entered.wait(10.0)
    one.outbox.away = {"beat"}
    house.clock.advance(LEASE_OF_OWN_CLOCK_SECONDS)
    one.until(lambda: one.producer.cuts > 0, "the client is cut off")
    gate.opened.set()


def test_a_client_is_cut_off_when_the_lease_was_lost_before_its_end(house: House, one: Process) -> None:
    with house.table.lock:
        house.table.lease_until.clear()
    house.clock.advance(LEASE_SECONDS / 3)
    one.until(lambda: one.outbox.owner != ONE, "the loss is noticed")
    one.until(lambda: one.producer.cuts > 0, "the client is cut off")


def test_a_publication_is_given_no_more_time_than_the_lease_has(house: House) -> None:
    one = house.process(ONE, publish_timeout_seconds=3600.0).start()
    one.outbox.away = {"beat"}
    house.clock.advance(LEASE_OF_OWN_CLOCK_SECONDS / 2)
    one.send(b"a")
    one.until_published(b"a")
    assert 0 < one.producer.timeouts[0] <= LEASE_OF_OWN_CLOCK_SECONDS / 2


def test_a_lease_that_is_renewed_cuts_nothing_off(house: House, one: Process) -> None:
    for _ in range(5):
        beats = one.outbox.beats
        house.clock.advance(LEASE_SECONDS / 3)
        one.until(lambda beats=beats: one.outbox.beats > beats, "the lease is renewed")  # type: ignore[misc]
    one.send(b"a")
    one.until_published(b"a")
    assert one.producer.cuts == 0


# --- the end of the process ----------------------------------------------------------------------------------


def test_what_waits_in_a_client_when_its_process_stops_is_written_once(house: House) -> None:
    log: list[Outgoing] = []
    producer = BufferingProducer(house.stage, log)
    one = house.process(ONE, producer=producer).start()
    producer.away = True
    one.send(b"a")
    one.until(lambda: bool(producer.buffer), "the client has the record")
    assert one.relay.stop(0.3)

    other(house, log).pass_scans()
    producer.close(1.0)
    assert [record.value for record in log] == [], "what is on its way may arrive until the lease has run out"

    house.clock.advance(LEASE_SECONDS + 1)
    house.until_empty()
    assert [record.value for record in log] == [b"a"]


def test_a_stop_that_leaves_nothing_in_doubt_ends_the_lease(house: House) -> None:
    log: list[Outgoing] = []
    producer = BufferingProducer(house.stage, log)
    one = house.process(ONE, producer=producer).start()
    one.send(b"a")
    one.until_published(b"a")
    assert one.relay.stop(10.0)
    assert not house.table.lease_until
