"""Time buckets: calendar units in a time zone, identified by their start in microseconds.

Minutes and hours have a fixed length. A day, a week (from Monday) and a month follow the zone's calendar, so a day on
which clocks change has 23 or 25 hours.
"""

from enum import StrEnum
from typing import Final

from stores import times
from stores.query.value_expressions import Expression

UTC: Final = "UTC"

_DAY: Final = 86_400 * times.SECOND
_FIRST_MONDAY: Final = 4 * _DAY
"""Monday, 5 January 1970."""


class Bucket(StrEnum):
    """Length of a bucket; the values are MongoDB's names of the units."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_LENGTHS: Final = {
    Bucket.MINUTE: 60 * times.SECOND,
    Bucket.HOUR: 3600 * times.SECOND,
    Bucket.DAY: _DAY,
    Bucket.WEEK: 7 * _DAY,
}


def bucket_of(micros: Expression, bucket: Bucket, timezone: str = UTC) -> Expression:
    """Build the expression of the bucket that contains a time; `bounds` converts it to start and end."""
    length = _LENGTHS.get(bucket)
    if timezone != UTC or not length:
        return {"$dateTrunc": {"date": _date(micros), **_unit(bucket, timezone), "startOfWeek": "monday"}}
    # This takes a third of the time of `$dateTrunc`.
    since = {"$subtract": [micros, _FIRST_MONDAY if bucket is Bucket.WEEK else 0]}
    return {"$subtract": [micros, _modulo(since, length)]}


def bounds(found: Expression, bucket: Bucket, timezone: str = UTC) -> tuple[Expression, Expression]:
    """Return expressions of a bucket's start and of the next bucket's start, clamped to the supported years."""
    length = _LENGTHS.get(bucket)
    if timezone != UTC or not length:
        following = {"$dateAdd": {"startDate": found, "amount": 1, **_unit(bucket, timezone)}}
        return _within(_micros(found)), _within(_micros(following))
    return _within(found), _within({"$add": [found, length]})


def _unit(bucket: Bucket, timezone: str) -> Expression:
    return {"unit": bucket.value, "timezone": {"$literal": timezone}}


def _date(micros: Expression) -> Expression:
    """Convert microseconds to a date. Whole milliseconds are exact as doubles; microseconds are not."""
    whole = {"$subtract": [micros, _modulo(micros, 1000)]}
    return {"$toDate": {"$toLong": {"$round": {"$divide": [whole, 1000]}}}}


def _micros(date: Expression) -> Expression:
    return {"$multiply": [{"$toLong": date}, 1000]}


def _modulo(number: Expression, by: int) -> Expression:
    """Return the remainder from 0 to `by`; MongoDB's `$mod` is negative for negative numbers."""
    return {"$mod": [{"$add": [{"$mod": [number, by]}, by]}, by]}


def _within(micros: Expression) -> Expression:
    return {"$max": [times.FIRST, {"$min": [times.LAST, micros]}]}
