"""Resume tokens of change streams: hexadecimal texts that sort lexically.

After one byte for the type come the seconds and the counter of the timestamp, then the format version (2B..). A 0 (29)
follows if the token is a bare timestamp, which sorts before all changes of that timestamp.
"""

from typing import Final

from bson.timestamp import Timestamp

_TYPE: Final = "82"
_SECONDS: Final = slice(2, 10)
_NUMBER: Final = slice(10, 18)
_VERSION: Final = slice(18, 20)
_KIND: Final = slice(22, 24)


def is_known(place: str) -> bool:
    """Return True if the token has the known format; tokens of other formats are only compared."""
    return place[:2] == _TYPE and place[_VERSION] == "2B"


def is_between_changes(place: str) -> bool:
    """Return True if the token is a bare timestamp; any other token reveals whose change it is."""
    return is_known(place) and place[_KIND] == "29"


def moment_of(place: str) -> Timestamp | None:
    """Return the token's timestamp; None if its format is unknown."""
    return Timestamp(int(place[_SECONDS], 16), int(place[_NUMBER], 16)) if is_known(place) else None


def token_at(moment: Timestamp) -> str:
    """Return the token before all changes of a timestamp, in the oldest format, which every MongoDB accepts."""
    return f"{_TYPE}{moment.time:08X}{moment.inc:08X}2B0229296E04"


def next_moment(place: str) -> str:
    """Return the token after all changes of a bare timestamp; any other token unchanged."""
    if not is_between_changes(place):
        return place
    return f"{place[: _NUMBER.start]}{int(place[_NUMBER], 16) + 1:08X}{place[_NUMBER.stop :]}"
