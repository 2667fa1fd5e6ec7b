"""Tests that times of any zone are accepted and stored as whole microseconds in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores import times
from stores.errors import BadInputError

MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))  # noqa: DTZ001 -- naive ones count
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(MOMENTS, ZONES)
def test_timestamp_is_the_same_in_every_zone(naive: datetime, zone: timezone) -> None:
    moment = naive.replace(tzinfo=UTC)

    assert times.parse(moment.astimezone(zone).isoformat()) == times.parse(moment.isoformat())
    assert times.from_datetime(naive) == times.from_datetime(moment)


@given(MOMENTS)
def test_time_is_exact_to_the_microsecond(naive: datetime) -> None:
    text = times.to_text(times.from_datetime(naive))

    assert len(text) == len("2026-01-31T12:00:00.000000Z")
    assert datetime.fromisoformat(text) == naive.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000000Z"),
        ("2026-01-31T12:00:00.1234567Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00+05:45", "2026-01-31T06:15:00.000000Z"),
        ("2026-01-31T12:00:00-23:59", "2026-02-01T11:59:00.000000Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_printed_in_utc_with_six_digits(text: str, same: str) -> None:
    assert times.to_text(times.parse(text)) == same


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-02-30",
        "2026-01-31T25:00:00",
        "1769860800",
        "2026-01-31T12:00:00+99:00",
        "2026-01-31T12:00:00 Europe/Berlin",
    ],
)
def test_invalid_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInputError, match=r"such as 2026-01-31T12:00:00\.000000Z"):
        times.parse(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-01:00"])
def test_time_outside_the_utc_calendar_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="outside the years 1 to 9999 in UTC"):
        times.parse(text)


def test_now_lies_between_two_clock_readings() -> None:
    before = datetime.now(UTC)

    now = times.now()

    assert times.from_datetime(before) <= now <= times.from_datetime(datetime.now(UTC))
