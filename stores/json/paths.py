r"""Dotted paths into JSON: `messages.0.content`, with `\.` for a dot inside a key."""

import re
from collections.abc import Iterable
from typing import Final

from stores.errors import BadInputError

_INDEX: Final = re.compile(r"[0-9]{1,9}")
_STEP: Final = re.compile(r"((?:[^.\\]|\\.|\\$)*)(\.|$)", re.DOTALL)


def split(path: str) -> list[str]:
    r"""Split a dotted path into its keys and unescape `\.` and `\\`; the empty path has no keys.

    Raises:
        BadInputError: if a key is empty, as in `a..b` or with a dot at either end.
    """
    if not path:
        return []
    if "\\" not in path and all(steps := path.split(".")):
        return steps
    steps, at = [], 0
    while at <= len(path):
        match = _STEP.match(path, at)
        if match is None or not match[1]:
            raise BadInputError(rf"{path[:200]!r} has an empty key; write a dot inside a key as \.")
        steps.append(re.sub(r"\\([.\\])", r"\1", match[1]))
        if not match[2]:
            break
        at = match.end()
    return steps


def join(steps: Iterable[str]) -> str:
    """Join keys to a dotted path, the inverse of `split`."""
    return ".".join(re.sub(r"([.\\])", r"\\\1", step) for step in steps)


def follow(value: object, steps: list[str]) -> object:
    """Return the value at the path, or None if there is none.

    A step of digits is a list index or an object key, depending on the value.
    """
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
