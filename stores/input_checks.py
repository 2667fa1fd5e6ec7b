"""Checks of arguments that several concepts share."""

from typing import Final

from stores.errors import BadInputError

MAX_NAME: Final = 1024


def check_object(value: object, argument: str) -> None:
    """Check that a value is a JSON object.

    Raises:
        BadInputError: if it is not.
    """
    if not isinstance(value, dict):
        raise BadInputError('must be a JSON object such as {"question": "…"}', argument)


def check_length(text: str | None, limit: int, argument: str) -> None:
    """Validate the length of a text in characters; None passes.

    Raises:
        BadInputError: if the text is longer than `limit`.
    """
    if text is not None and len(text) > limit:
        raise BadInputError(f"has {len(text):,} characters; the limit is {limit:,}", argument)


MAX_MEMBERS: Final = 1000
