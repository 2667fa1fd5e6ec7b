"""What rows are made of: the dicts of a store, and result objects."""

from collections.abc import Callable
from functools import partial
from typing import Any

Source = Any


def field_of(source: Source, name: str) -> object:
    """A field's value in a row of a store, or in a result object; a row leaves out what is null."""
    return source.get(name) if type(source) is dict else getattr(source, name)


def reader(source: Source) -> Callable[[str], object]:
    """How to read the fields of one source by name; what reading raises comes as the value."""
    return source.get if type(source) is dict else partial(_attribute, source)


def _attribute(source: Source, name: str) -> object:
    try:
        return getattr(source, name)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is the field's error
        return error
