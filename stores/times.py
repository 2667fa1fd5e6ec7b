"""Times as whole microseconds since the Unix epoch, in UTC; histograms of durations."""

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import Final

from stores.errors import BadInputError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
SECOND: Final = 1_000_000
_MINUTE: Final = 60 * SECOND

FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""Bounds of the years 1 to 9999, which `datetime` can format, in microseconds since the epoch."""

DURATION_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of a `DurationHistogram` in seconds, inclusive."""

_MAX_CACHED_MINUTES: Final = 4096
_SECONDS: Final = [f"{number:02}." for number in range(60)]
_THOUSANDTHS: Final = [f"{number:03}" for number in range(1000)]
_MILLIONTHS: Final = [f"{number:03}Z" for number in range(1000)]


def now() -> int:
    """Return the current time in microseconds since the epoch."""
    return from_datetime(datetime.now(UTC))


def from_datetime(value: datetime) -> int:
    """Convert to microseconds since the epoch; a datetime without a zone counts as UTC."""
    aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return (aware - _EPOCH) // _MICROSECOND


def parse(text: str) -> int:
    """Parse an ISO 8601 text to microseconds since the epoch. Without a zone it is UTC; digits beyond six are cut.

    Raises:
        BadInputError: if the text is not such a time, or lies outside the years 1 to 9999 in UTC.
    """
    try:
        micros = from_datetime(datetime.fromisoformat(text))
        _EPOCH + timedelta(microseconds=micros)
    except ValueError:
        raise BadInputError(f"{text[:64]!r} is not an ISO 8601 time such as 2026-01-31T12:00:00.000000Z") from None
    except OverflowError:
        raise BadInputError(f"{text[:64]!r} lies outside the years 1 to 9999 in UTC; send a time within them") from None
    return micros


def to_text(micros: int) -> str:
    """Format as ISO 8601 in UTC with six digits and `Z`, as in 2026-01-31T12:00:00.000000Z.

    Raises:
        OverflowError: if the time lies outside `FIRST` to `LAST`.
    """
    minute, rest = divmod(micros, _MINUTE)
    second, rest = divmod(rest, SECOND)
    # Table lookups take half as long as formatting, and a page of calls has thousands of times.
    return f"{_MINUTES[minute]}{_SECONDS[second]}{_THOUSANDTHS[rest // 1000]}{_MILLIONTHS[rest % 1000]}"


class _Minutes(dict[int, str]):
    """Cache of formatted minutes since the epoch, up to the seconds; times of one page lie close together."""

    def __missing__(self, minutes: int) -> str:
        if len(self) >= _MAX_CACHED_MINUTES:
            self.clear()
        text = self[minutes] = f"{_EPOCH + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:}".rjust(17, "0")
        return text


_MINUTES: Final = _Minutes()


class DurationHistogram:
    """Number of durations per bucket (one per bound, and one for longer ones) and their sum in seconds.

    It is cheap enough to update on every operation.
    """

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Add one duration."""
        self.counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.sum += seconds
