"""Attribute values as JSON: from protobuf, and from strings that contain JSON."""

import base64
import math
from collections.abc import Iterable, Sized
from typing import Final, TypeVar

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from stores.errors import BadInputError, StoreError
from stores.json import AnyJson, codec

_Values = TypeVar("_Values", bound=Sized)

MAX_VALUES: Final = 200_000
"""Limit on the members of a list or object, and on the values in all JSON strings of a span."""

_FREE_CHARACTERS: Final = 16 * 1024
"""Characters of a span's JSON strings that are decoded before values are counted; they cannot have many values."""

OPENING: Final = ("[", "{")
"""First characters of strings that may be a JSON list or object."""


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, object]:
    """Convert attributes to JSON values by key; the last of equal keys wins."""
    attributes = {}
    for pair in pairs:
        value = pair.value
        # Most values are strings, and checking the kind takes as long as reading the value.
        attributes[pair.key] = value.string_value or value_of(value)
    return attributes


def value_of(value: AnyValue) -> object:
    """Convert a value to JSON: bytes become Base64, and non-finite numbers `NaN`, `Infinity` and `-Infinity`.

    Raises:
        BadInputError: a list or an object in it has more than `MAX_VALUES` members.
    """
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return number(value.double_value)
        case "array_value":
            return [value_of(inner) for inner in _check_length(value.array_value.values)]
        case "kvlist_value":
            return {pair.key: value_of(pair.value) for pair in _check_length(value.kvlist_value.values)}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
    return None


def _check_length(values: _Values) -> _Values:
    if len(values) > MAX_VALUES:
        raise BadInputError(f"a list or object in it has {len(values):,} values; the limit is {MAX_VALUES:,}")
    return values


def number(value: float) -> float | str:
    """Return a finite number unchanged, others as a string."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class Decoding:
    """Decodes the JSON strings of one span; after `MAX_VALUES` values in total, strings stay undecoded."""

    __slots__ = ("_free", "_remaining")

    def __init__(self) -> None:
        self._free = _FREE_CHARACTERS
        self._remaining = MAX_VALUES

    def of(self, text: str) -> AnyJson:
        """Decode a string that starts like JSON; return it unchanged if it is invalid or beyond the limit."""
        self._free -= len(text)
        if self._free < 0:
            number = text.count(",") + text.count("[") + text.count("{")
            if number > self._remaining:
                return text
            self._remaining -= number
        try:
            return codec.loads(text.encode())
        except (StoreError, UnicodeEncodeError):
            return text
