"""Resume tokens of change streams: hexadecimal texts that sort lexically.

After one byte for the type come the seconds and the counter of the timestamp, then the format version (2B..). A 0 (29)
follows if the token is a bare timestamp, which sorts before all changes of that timestamp.
"""

from typing import Final

from bson.timestamp import Timestamp

_TYPE: Final = "82"
_SECONDS: Final = slice(2, 10)
_COUNTER: Final = slice(10, 18)
_VERSION: Final = slice(18, 20)
_KIND: Final = slice(22, 24)


def is_known_format(token: str) -> bool:
    """Return True if the token has the known format; tokens of other formats are only compared."""
    return token[:2] == _TYPE and token[_VERSION] == "2B"


def is_bare_timestamp(token: str) -> bool:
    """Return True if the token is a bare timestamp; any other token reveals whose change it is."""
    return is_known_format(token) and token[_KIND] == "29"


def timestamp_of(token: str) -> Timestamp | None:
    """Return the token's timestamp; None if its format is unknown."""
    return Timestamp(int(token[_SECONDS], 16), int(token[_COUNTER], 16)) if is_known_format(token) else None


def token_at(timestamp: Timestamp) -> str:
    """Return the token before all changes of a timestamp, in the oldest format, which every MongoDB accepts."""
    return f"{_TYPE}{timestamp.time:08X}{timestamp.inc:08X}2B0229296E04"


def token_after_timestamp(token: str) -> str:
    """Return the token after all changes of a bare timestamp; any other token unchanged."""
    if not is_bare_timestamp(token):
        return token
    return f"{token[: _COUNTER.start]}{int(token[_COUNTER], 16) + 1:08X}{token[_COUNTER.stop :]}"
