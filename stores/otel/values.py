"""Values of attributes as JSON: what protobuf holds, and what strings hold that are JSON themselves."""

import base64
import math
from collections.abc import Iterable, Sized
from typing import Any, Final, TypeVar

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from stores.errors import BadInputError, StoreError
from stores.json import codec

_Values = TypeVar("_Values", bound=Sized)

MAX_VALUES: Final = 200_000
"""Members of one list or object, and values in all of a span's strings that are JSON: more no document holds."""

_FREE_CHARACTERS: Final = 16 * 1024
"""What is read of a span's strings before their values are counted: of so much there cannot be many."""

OPENING: Final = ("[", "{")
"""How a string begins that may be JSON of a list or an object."""


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, object]:
    """Attributes as JSON values by key; of a key that comes twice the last counts."""
    found = {}
    for pair in pairs:
        value = pair.value
        # Most values are strings, and to ask which kind one is takes as long as to read it.
        found[pair.key] = value.string_value or value_of(value)
    return found


def value_of(value: AnyValue) -> object:
    """A value as JSON: bytes are Base64, and numbers that JSON lacks are `NaN`, `Infinity` and `-Infinity`.

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
            return [value_of(inner) for inner in _few(value.array_value.values)]
        case "kvlist_value":
            return {pair.key: value_of(pair.value) for pair in _few(value.kvlist_value.values)}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
    return None


def _few(values: _Values) -> _Values:
    if len(values) > MAX_VALUES:
        raise BadInputError(f"a list or object in it has {len(values):,} values; the limit is {MAX_VALUES:,}")
    return values


def number(value: float) -> float | str:
    """A number as JSON has it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class Decoding:
    """Reads the strings of one span that are JSON; those beyond `MAX_VALUES` values in all stay the text they are."""

    __slots__ = ("_free", "_left")

    def __init__(self) -> None:
        self._free = _FREE_CHARACTERS
        self._left = MAX_VALUES

    def of(self, text: str) -> Any:  # noqa: ANN401 -- JSON
        """The value of a string that begins like JSON; the string where it is none, or is too much."""
        self._free -= len(text)
        if self._free < 0:
            number = text.count(",") + text.count("[") + text.count("{")
            if number > self._left:
                return text
            self._left -= number
        try:
            return codec.loads(text.encode())
        except (StoreError, UnicodeEncodeError):
            return text
