"""Times as LoomQL keeps them: whole microseconds since the epoch, in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

from stores.errors import BadInputError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
SECOND: Final = 1_000_000
_MINUTE: Final = 60 * SECOND

FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""The years 1 to 9999: what has a text."""


def now() -> int:
    """The present, in microseconds since the epoch."""
    return from_datetime(datetime.now(UTC))


def from_datetime(moment: datetime) -> int:
    """Microseconds since the epoch; a moment without a zone is read as UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (aware - _EPOCH) // _MICROSECOND


def parse(text: str) -> int:
    """Microseconds since the epoch of an ISO 8601 text; without a zone it is UTC, digits beyond six are cut.

    Raises:
        BadInputError: the text is not such a time, or lies outside the years 1 to 9999 in UTC.
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
    """ISO 8601 in UTC with six digits and `Z`, as in 2026-01-31T12:00:00.000000Z.

    Raises:
        OverflowError: it lies outside `FIRST` to `LAST`.
    """
    minute, rest = divmod(micros, _MINUTE)
    second, rest = divmod(rest, SECOND)
    # Looked up, digits cost half of what formatting them does, and a page of calls has thousands of times.
    return f"{_MINUTES[minute]}{_SECONDS[second]}{_THOUSANDTHS[rest // 1000]}{_MILLIONTHS[rest % 1000]}"


class _Minutes(dict[int, str]):
    """The text up to the seconds of minutes since the epoch, as they are asked for: those of one page lie close."""

    def __missing__(self, minutes: int) -> str:
        if len(self) >= _KEPT_MINUTES:
            self.clear()
        text = self[minutes] = f"{_EPOCH + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:}".rjust(17, "0")
        return text


_KEPT_MINUTES: Final = 4096
_MINUTES: Final = _Minutes()
_SECONDS: Final = [f"{number:02}." for number in range(60)]
_THOUSANDTHS: Final = [f"{number:03}" for number in range(1000)]
_MILLIONTHS: Final = [f"{number:03}Z" for number in range(1000)]
