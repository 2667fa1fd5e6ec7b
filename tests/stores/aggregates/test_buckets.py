"""Tests of time buckets: their length when clocks change, before the epoch, and at the limits of time."""

from typing import Any

import pytest

from stores import times
from stores.aggregates.grouping import Bucket, bounds, bucket_of
from stores.database import Database
from stores.times import parse, to_text

HOUR = 3_600_000_000


async def bucket(database: Database, micros: int, unit: Bucket, zone: str) -> tuple[int, int]:
    """Return the first moment of the time's bucket and of the next one."""
    first, following = bounds("$found", unit, zone)
    stages: list[dict[str, Any]] = [
        {"$documents": [{"at": micros}]},
        {"$set": {"found": bucket_of("$at", unit, zone)}},
        {"$project": {"first": first, "following": following}},
    ]
    [row] = await database.calls.database.aggregate(stages).to_list(None)
    return row["first"], row["following"]


@pytest.mark.parametrize(
    ("moment", "unit", "zone", "first", "hours"),
    [
        ("2026-03-29T10:00:00Z", Bucket.DAY, "Europe/Berlin", "2026-03-28T23:00:00Z", 23),
        ("2026-10-25T10:00:00Z", Bucket.DAY, "Europe/Berlin", "2026-10-24T22:00:00Z", 25),
        ("2026-10-25T00:30:00Z", Bucket.HOUR, "Europe/Berlin", "2026-10-25T00:00:00Z", 1),
        ("2026-10-25T01:30:00Z", Bucket.HOUR, "Europe/Berlin", "2026-10-25T01:00:00Z", 1),
        ("2026-10-25T22:59:59.999999Z", Bucket.DAY, "Europe/Berlin", "2026-10-24T22:00:00Z", 25),
        ("2026-10-25T23:00:00Z", Bucket.DAY, "Europe/Berlin", "2026-10-25T23:00:00Z", 24),
        ("2026-03-29T10:00:00Z", Bucket.WEEK, "Europe/Berlin", "2026-03-22T23:00:00Z", 7 * 24 - 1),
        ("2026-03-29T10:00:00Z", Bucket.WEEK, "UTC", "2026-03-23T00:00:00Z", 7 * 24),
        ("2026-03-30T00:00:00Z", Bucket.WEEK, "UTC", "2026-03-30T00:00:00Z", 7 * 24),
        ("2026-02-28T23:59:59.999999Z", Bucket.MONTH, "UTC", "2026-02-01T00:00:00Z", 28 * 24),
        ("2026-03-31T12:00:00Z", Bucket.MONTH, "Europe/Berlin", "2026-02-28T23:00:00Z", 31 * 24 - 1),
        ("2026-01-31T12:00:00Z", Bucket.DAY, "+05:30", "2026-01-30T18:30:00Z", 24),
        ("1969-12-31T23:59:59.999999Z", Bucket.DAY, "UTC", "1969-12-31T00:00:00Z", 24),
        ("1969-12-31T23:59:59.999999Z", Bucket.DAY, "Europe/Berlin", "1969-12-31T23:00:00Z", 24),
        ("1969-12-31T22:59:59.999999Z", Bucket.DAY, "Europe/Berlin", "1969-12-30T23:00:00Z", 24),
        ("1969-12-28T12:00:00Z", Bucket.WEEK, "UTC", "1969-12-22T00:00:00Z", 7 * 24),
        ("0001-01-01T00:00:00Z", Bucket.DAY, "UTC", "0001-01-01T00:00:00Z", 24),
        ("9999-12-30T23:59:59.999999Z", Bucket.DAY, "Etc/UTC", "9999-12-30T00:00:00Z", 24),
        ("9999-12-30T23:59:59.999999Z", Bucket.DAY, "UTC", "9999-12-30T00:00:00Z", 24),
        ("9999-11-30T23:59:59.999999Z", Bucket.MONTH, "UTC", "9999-11-01T00:00:00Z", 30 * 24),
    ],
)
async def test_bucket_is_a_calendar_period_of_the_time_zone(
    database: Database, moment: str, unit: Bucket, zone: str, first: str, hours: int
) -> None:
    found = await bucket(database, parse(moment), unit, zone)

    assert (to_text(found[0]), found[1] - found[0]) == (to_text(parse(first)), hours * HOUR)


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize("unit", Bucket)
async def test_buckets_at_the_limits_of_time_end_there(database: Database, unit: Bucket, zone: str) -> None:
    first = await bucket(database, times.FIRST, unit, zone)
    last = await bucket(database, times.LAST, unit, zone)

    assert times.FIRST == first[0] < first[1]
    assert last[0] < last[1] == times.LAST


async def test_utc_fast_path_equals_the_time_zone_path(database: Database) -> None:
    for unit in Bucket:
        for moment in ("2026-03-29T10:11:12.131415Z", "1969-05-06T07:08:09.101112Z", "2300-01-01T00:00:00Z"):
            plain = await bucket(database, parse(moment), unit, "UTC")
            assert plain == await bucket(database, parse(moment), unit, "Etc/UTC"), (unit, moment)
