"""Places among all changes, as MongoDB writes them: texts of hexadecimal digits that are in order as texts are.

After a byte for the type come the seconds and the number of the moment, then the version of the form (2B..), and then
0 (29) where a place is a moment and no change: it stands before all changes of that moment.
"""

from typing import Final

from bson.timestamp import Timestamp

_TYPE: Final = "82"
_SECONDS: Final = slice(2, 10)
_NUMBER: Final = slice(10, 18)
_VERSION: Final = slice(18, 20)
_KIND: Final = slice(22, 24)


def is_known(place: str) -> bool:
    """Whether a place is written in the form that is known here; another one is only compared."""
    return place[:2] == _TYPE and place[_VERSION] == "2B"


def is_between_changes(place: str) -> bool:
    """Whether a place names no change, only a moment: one that does tells whose change it is."""
    return is_known(place) and place[_KIND] == "29"


def moment_of(place: str) -> Timestamp | None:
    """The moment of a place; None if it cannot be told."""
    return Timestamp(int(place[_SECONDS], 16), int(place[_NUMBER], 16)) if is_known(place) else None


def token_at(moment: Timestamp) -> str:
    """The place before all changes of a moment, in the oldest form, which every MongoDB takes."""
    return f"{_TYPE}{moment.time:08X}{moment.inc:08X}2B0229296E04"


def next_moment(place: str) -> str:
    """The place after all changes of a moment, for one between changes; any other one as it is."""
    if not is_between_changes(place):
        return place
    return f"{place[: _NUMBER.start]}{int(place[_NUMBER], 16) + 1:08X}{place[_NUMBER.stop :]}"
