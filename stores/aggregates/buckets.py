"""Buckets of time: stretches of a calendar, in a zone, each known by its first moment in microseconds.

Minutes and hours are as long everywhere. A day, a week (from Monday) and a month are those of the zone's calendar, so
that a day on which clocks change has 23 or 25 hours.
"""

from enum import StrEnum
from typing import Final

from stores import times
from stores.query.value_expressions import Expression

UTC: Final = "UTC"

_DAY: Final = 86_400 * times.SECOND
_FIRST_MONDAY: Final = 4 * _DAY
"""The first one after the epoch."""


class Bucket(StrEnum):
    """How long a bucket is; MongoDB's own names of the units."""

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
    """The bucket that a moment is in, by what `bounds` tells its first and last moment."""
    length = _LENGTHS.get(bucket)
    if timezone != UTC or not length:
        return {"$dateTrunc": {"date": _date(micros), **_unit(bucket, timezone), "startOfWeek": "monday"}}
    # A third of the time that it takes by way of dates.
    since = {"$subtract": [micros, _FIRST_MONDAY if bucket is Bucket.WEEK else 0]}
    return {"$subtract": [micros, _modulo(since, length)]}


def bounds(found: Expression, bucket: Bucket, timezone: str = UTC) -> tuple[Expression, Expression]:
    """The first moment of a bucket and that of the next, within the years that times have."""
    length = _LENGTHS.get(bucket)
    if timezone != UTC or not length:
        following = {"$dateAdd": {"startDate": found, "amount": 1, **_unit(bucket, timezone)}}
        return _within(_micros(found)), _within(_micros(following))
    return _within(found), _within({"$add": [found, length]})


def _unit(bucket: Bucket, timezone: str) -> Expression:
    return {"unit": bucket.value, "timezone": {"$literal": timezone}}


def _date(micros: Expression) -> Expression:
    """The date; whole milliseconds are exact as doubles where microseconds are not."""
    whole = {"$subtract": [micros, _modulo(micros, 1000)]}
    return {"$toDate": {"$toLong": {"$round": {"$divide": [whole, 1000]}}}}


def _micros(date: Expression) -> Expression:
    return {"$multiply": [{"$toLong": date}, 1000]}


def _modulo(number: Expression, by: int) -> Expression:
    """The remainder from 0, which MongoDB's own is below for what is below 0."""
    return {"$mod": [{"$add": [{"$mod": [number, by]}, by]}, by]}


def _within(micros: Expression) -> Expression:
    return {"$max": [times.FIRST, {"$min": [times.LAST, micros]}]}
