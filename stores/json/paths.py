r"""Dotted paths into JSON: `messages.0.content`, with `\.` for a dot inside a key."""

import re
from collections.abc import Iterable
from typing import Final

from stores.errors import BadInputError

_INDEX: Final = re.compile(r"[0-9]{1,9}")
_STEP: Final = re.compile(r"((?:[^.\\]|\\.|\\$)*)(\.|$)", re.DOTALL)


def split(path: str) -> list[str]:
    r"""The keys of a dotted path, `\.` and `\\` unescaped; the empty path is no key at all.

    Raises:
        BadInputError: a key is empty, as in `a..b` or with a dot at either end.
    """
    if not path:
        return []
    if "\\" not in path and all(steps := path.split(".")):
        return steps
    steps, at = [], 0
    while at <= len(path):
        found = _STEP.match(path, at)
        if found is None or not found[1]:
            raise BadInputError(rf"{path[:200]!r} has an empty key; write a dot inside a key as \.")
        steps.append(re.sub(r"\\([.\\])", r"\1", found[1]))
        if not found[2]:
            break
        at = found.end()
    return steps


def join(steps: Iterable[str]) -> str:
    r"""The dotted path of some keys, which `split` takes apart again."""
    return ".".join(re.sub(r"([.\\])", r"\\\1", step) for step in steps)


def follow(value: object, steps: list[str]) -> object:
    """What lies at the end of the steps, or None where they lead nowhere.

    A step of digits is a list index or a key, whichever is there.
    """
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
