"""Times as LoomQL keeps them: whole microseconds since the epoch, in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

from stores.errors import BadInputError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


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
    """ISO 8601 in UTC with six digits and `Z`, as in 2026-01-31T12:00:00.000000Z."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z".rjust(27, "0")
