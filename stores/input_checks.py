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


def check_range(low: float | None, high: float | None, low_name: str, argument: str, *, excludes: bool = False) -> None:
    """Check that a value between two bounds may exist; None means unbounded.

    Args:
        low: the lower bound.
        high: the upper bound.
        low_name: name of the lower bound, for the message.
        argument: the argument that contains the upper bound.
        excludes: True if the bounds themselves do not match.

    Raises:
        BadInputError: if no value is between the bounds.
    """
    if low is not None and high is not None and (low >= high if excludes else low > high):
        raise BadInputError(f"must be greater than {low_name}; nothing is between them", argument)


def check_count(count: int, limit: int, noun: str, argument: str | None = None) -> None:
    """Check a number of items, which `noun` names.

    Raises:
        BadInputError: if there are more than `limit`.
    """
    if count > limit:
        raise BadInputError(f"has {count:,} {noun}; the limit is {limit:,}", argument)
