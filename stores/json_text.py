"""JSON as text: parsed once on the way in, kept as what came, spliced unparsed on the way out.

orjson does the work; what it cannot (integers beyond 64 bits, nesting beyond 254 levels) takes a slower way
with the same result, so that every JSON value that comes in leaves as it came.
"""

import json
import re
from typing import Final

import orjson

from stores import json_path
from stores.errors import BadInputError

MAX_DEPTH: Final = 1024
"""Levels of nesting that `loads` takes; it is orjson's own bound."""

_BEYOND_64_BITS: Final = re.compile(rb"\d{20}|-\d{19}")
_NOT_A_NUMBER: Final = re.compile(rb"[:\[,\s](-?Infinity|NaN)\b")


def loads(text: bytes) -> object:
    """The value of a JSON text, its integers exact whatever their size.

    Raises:
        BadInputError: the text is not JSON in UTF-8, holds a lone surrogate, a number beyond a double's range,
            or nests deeper than `MAX_DEPTH`.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadInputError(_explain(text, str(error))) from None
    return _loads_wide(text) if _BEYOND_64_BITS.search(text) else value


def _explain(text: bytes, reason: str) -> str:
    if _NOT_A_NUMBER.search(text):
        return f"not JSON, which has no NaN or Infinity; send null or a string instead ({reason})"
    if "depth limit" in reason:
        return f"JSON nested deeper than {MAX_DEPTH:,} levels"
    if "infinity" in reason:
        return f"JSON with a number beyond a double's range; send it as a string instead ({reason})"
    if "surrogate" in reason:
        return f"JSON with a lone surrogate, which no UTF-8 text can hold ({reason})"
    return f"not JSON in UTF-8: {reason}"


def _loads_wide(text: bytes) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise BadInputError("JSON nested too deeply to also hold an integer beyond 64 bits") from None


def dumps(value: object) -> bytes:
    """The JSON of a response, in UTF-8; an `orjson.Fragment` in it passes as it is."""
    return orjson.dumps(value)


def encode(value: object) -> str:
    """The compact JSON text of a value made of dicts, lists, strings, numbers, booleans and None."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return _encode_odd(value, ",", ":", ensure_ascii=False)


def at_path(text: str, path: str | None) -> str | None:
    r"""The JSON text of what lies at a dotted path in a JSON text (all of it without one), None where that is null.

    Raises:
        BadInputError: the path has an empty key.
    """
    if not path:
        return text
    value = json_path.follow(loads(text.encode()), json_path.split(path))
    return None if value is None else encode(value)


def default_length(value: object) -> int:
    """The length of a value's JSON as Python writes it by default (`", "`, `": "`, ASCII), the measure of sizes."""
    return len(_encode_odd(value, ", ", ": ", ensure_ascii=True))


def _encode_odd(value: object, item: str, colon: str, *, ensure_ascii: bool) -> str:
    try:
        return json.dumps(value, separators=(item, colon), ensure_ascii=ensure_ascii, allow_nan=False)
    except RecursionError:
        return _encode_deep(value, item, colon, ensure_ascii=ensure_ascii)


class _Piece(str):
    """JSON text that is already made, among the values that wait in `_encode_deep`."""

    __slots__ = ()


def _encode_deep(value: object, item: str, colon: str, *, ensure_ascii: bool) -> str:
    scalar = json.JSONEncoder(ensure_ascii=ensure_ascii, allow_nan=False).encode
    pieces: list[str] = []
    waiting: list[object] = [value]
    while waiting:
        match waiting.pop():
            case _Piece() as piece:
                pieces.append(piece)
            case dict() as members:
                parts = [
                    part
                    for key, inner in members.items()
                    for part in (_Piece(item), _Piece(scalar(key) + colon), inner)
                ]
                waiting += [_Piece("}"), *reversed(parts[1:]), _Piece("{")]
            case list() as entries:
                parts = [part for inner in entries for part in (_Piece(item), inner)]
                waiting += [_Piece("]"), *reversed(parts[1:]), _Piece("[")]
            case leaf:
                pieces.append(scalar(leaf))
    return "".join(pieces)
