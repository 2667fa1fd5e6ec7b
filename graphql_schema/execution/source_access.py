"""Access to sources of rows: dicts of stores, and result objects."""

from collections.abc import Callable
from functools import partial
from typing import Any

Source = Any


def field_of(source: Source, name: str) -> object:
    """Return a field of a row of a store or of a result object; rows omit null fields."""
    return source.get(name) if type(source) is dict else getattr(source, name)


def reader(source: Source) -> Callable[[str], object]:
    """Return a function that reads fields of a source by name; it returns exceptions as values."""
    return source.get if type(source) is dict else partial(_attribute, source)


def _attribute(source: Source, name: str) -> object:
    try:
        return getattr(source, name)
    except Exception as error:  # noqa: BLE001 -- any exception becomes the field's error
        return error
