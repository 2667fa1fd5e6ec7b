"""Checks of arguments, shared by the stores."""

from typing import Final

from stores.errors import BadInputError

MAX_NAME: Final = 1024
"""Maximum characters of a name that a client chooses."""

MAX_MEMBERS: Final = 1000
"""Maximum members of a list in a filter."""


def check_object(value: object, argument: str) -> None:
    """Check that a value is a JSON object.

    Raises:
        BadInputError: if it is not.
    """
    if not isinstance(value, dict):
        raise BadInputError('must be a JSON object such as {"question": "…"}', argument)


def check_length(text: str | None, limit: int, argument: str | None = None) -> None:
    """Validate the length of a text in characters; None passes.

    Raises:
        BadInputError: if the text is longer than `limit`.
    """
    if text is not None:
        check_count(len(text), limit, "characters", argument)


def check_count(count: int, limit: int, noun: str, argument: str | None = None) -> None:
    """Check a number of items, which `noun` names.

    Raises:
        BadInputError: if there are more than `limit`.
    """
    if count > limit:
        raise BadInputError(f"has {count:,} {noun}; the limit is {limit:,}", argument)


def check_range(low: float | None, high: float | None, argument: str, *, exclusive: bool = False) -> None:
    """Check that some value may be within both bounds; None sets no bound.

    Raises:
        BadInputError: none may, so that the answer would always be empty.
    """
    if low is None or high is None or (low < high if exclusive else low <= high):
        return
    relation = "not before" if exclusive else "greater than"
    raise BadInputError(f"nothing can match: the lower bound is {relation} the upper bound", argument)
