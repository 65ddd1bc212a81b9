"""A time is an instant in UTC, whichever way a service writes it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.wire.errors import WireError
from ordersaga.wire.times import in_utc, parse_time, time_text
from tests.wire.samples import TIMES

SECOND = datetime(2026, 1, 23, 0, 24, 39, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-01-23T00:24:39", 0),
        ("2026-01-23T00:24:39Z", 0),
        ("2026-01-23T00:24:39+00:00", 0),
        ("2026-01-23T01:24:39+01:00", 0),
        ("2026-01-22T17:24:39-0700", 0),
        ("2026-01-23 00:24:39", 0),
        ("2026-01-23 00:24:39.5+00:00", 500_000),
        ("2026-01-23T00:24:39.1", 100_000),
        ("2026-01-23T00:24:39.12Z", 120_000),
        ("2026-01-23T00:24:39.123", 123_000),
        ("2026-01-23T00:24:39.1234Z", 123_400),
        ("2026-01-23T00:24:39.12345", 123_450),
        ("2026-01-23T00:24:39.123456Z", 123_456),
        ("2026-01-23T00:24:39.1234567", 123_456),
        ("2026-01-23T00:24:39.12345678Z", 123_456),
        ("2026-01-23T01:24:39.123456789+01:00", 123_456),
    ],
)
def test_every_way_to_write_a_time_is_read(text: str, microsecond: int) -> None:
    found = parse_time(text, "timestamp")
    assert found == SECOND.replace(microsecond=microsecond)
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "1737591879", "2026-01-23", "2026-W04-5T00:24:39", "20260123T002439.000000", "00:24:39"),
        *("2026-01-23x00:24:39", "2026-13-01T00:00:00", "2026-02-30T00:00:00", "2026-01-23T25:00:00"),
        *("2026-01-23T00:24:60", "2026-01-23T00:24:39.", "2026-01-23T00:24:39+25:00", "2026-01-23T00:24:39ZZ"),
        *("2026-01-23T00:24:39 or so", "２026-01-23T00:24:39", "2026-01-23T00:24:39.1٣", "2026-01-23T00:24:39\0"),
        *("0000-01-01T00:00:00", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z"),
        *("9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z", "-2026-01-23T00:24:39", "+12026-01-23T00:24:39"),
    ],
)
def test_what_is_no_time_or_of_no_year_that_anyone_means_is_refused(text: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_time(text, "payload.timeout_at")
    assert caught.value.field == "payload.timeout_at"


@given(st.text() | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.+Z-]{8,20}", fullmatch=True))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        assert parse_time(text, "t").tzinfo is UTC
    except WireError as error:
        assert error.field == "t"  # noqa: PT017 - either outcome is right


@given(TIMES, st.integers(-14 * 60, 14 * 60))
def test_what_we_write_is_read_as_the_same_instant(moment: datetime, minutes: int) -> None:
    text = time_text(moment.astimezone(timezone(timedelta(minutes=minutes))))
    assert parse_time(text, "t") == moment
    assert len(text) == len("2026-01-23T00:24:39.123456Z")
    assert text.endswith("Z")


@given(st.lists(TIMES, max_size=5))
def test_our_texts_sort_as_their_instants(moments: list[datetime]) -> None:
    assert [time_text(moment) for moment in sorted(moments)] == sorted(time_text(moment) for moment in moments)


def test_a_time_without_zone_is_read_as_utc_but_never_written() -> None:
    assert in_utc(SECOND.replace(tzinfo=None), "t") == SECOND
    with pytest.raises(ValueError, match="without zone"):
        time_text(SECOND.replace(tzinfo=None))
