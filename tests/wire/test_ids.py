"""Ids are the same for whoever derives them, today and after the next release."""

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from ordersaga.wire.ids import announcement_id, answer_id, message_id, unix_ms_of, uuid7
from tests.wire.samples import SAGA_ID

TIME_MS = st.integers(0, 2**48 - 1)
RANDOM = st.binary(min_size=10, max_size=16)


def test_derived_ids_never_change_since_messages_that_are_under_way_carry_them() -> None:
    assert message_id(SAGA_ID, "CREATE_ORDER", "do") == UUID("38a02a97-91a5-5f83-989e-d6fe8db27bf7")
    assert message_id(SAGA_ID, "CREATE_ORDER", "undo", "o-1") == UUID("1e38b153-a32a-54f1-b1b4-65a0bf85f22a")
    assert announcement_id(SAGA_ID, "notification.order_confirmed", 7) == UUID("8f8afbd7-7c5b-5c17-99f9-a722a3b11cc3")
    assert answer_id("payment", SAGA_ID, "payment.authorized") == UUID("949c6591-e8a7-528e-9f61-fe03d94fbf4b")


def test_an_undo_that_learnt_its_effect_is_another_command() -> None:
    ids = {
        message_id(SAGA_ID, "CREATE_ORDER", "do"),
        message_id(SAGA_ID, "CREATE_ORDER", "undo"),
        message_id(SAGA_ID, "CREATE_ORDER", "undo", "o-1"),
        message_id(SAGA_ID, "CREATE_ORDER", "undo", "o-2"),
        message_id(SAGA_ID, "START_TIMER", "undo"),
        message_id(UUID(int=SAGA_ID.int + 1), "CREATE_ORDER", "undo"),
    }
    assert len(ids) == 6


def test_an_answer_has_one_id_whether_its_command_is_named_as_text_or_as_uuid() -> None:
    assert answer_id("payment", SAGA_ID, "payment.failed") == answer_id("payment", str(SAGA_ID), "payment.failed")


@given(TIME_MS, RANDOM)
def test_a_saga_id_is_a_uuid_of_version_7(unix_ms: int, random: bytes) -> None:
    made = uuid7(unix_ms, random)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert unix_ms_of(made) == unix_ms


@given(TIME_MS, TIME_MS, RANDOM, RANDOM)
def test_saga_ids_sort_by_time(first: int, second: int, random: bytes, other: bytes) -> None:
    if first < second:
        assert uuid7(first, random) < uuid7(second, other)
        assert str(uuid7(first, random)) < str(uuid7(second, other))


@given(TIME_MS, st.integers(0, 79))
def test_all_but_version_and_variant_of_the_random_bits_count(unix_ms: int, bit: int) -> None:
    differs = uuid7(unix_ms, (1 << bit).to_bytes(10, "big")) != uuid7(unix_ms, bytes(10))
    assert differs is (bit not in (62, 63, 76, 77, 78, 79))
