"""JSON as text: parsed once on the way in, kept as what came, spliced unparsed on the way out.

orjson does the work; what it cannot (integers beyond 64 bits, nesting beyond 254 levels) takes a slower way
with the same result, so that every JSON value that comes in leaves as it came.
"""

import json
import re
from collections.abc import Collection, Iterator
from operator import itemgetter
from typing import Any, Final

import orjson

from stores.errors import BadInputError
from stores.json import limits

_DEFAULT: Final = json.JSONEncoder(allow_nan=False).encode
_CANONICAL: Final = json.JSONEncoder(allow_nan=False, sort_keys=True).encode
_PIECE: Final = 500
"""Members that are written at once."""

_DIGITS_AS_ZEROS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_RUN: Final = b"0" * 19
_NOT_A_NUMBER: Final = re.compile(rb"(?:\A|[:\[,\s])(-?Infinity|NaN)\b")
_WORD: Final = re.compile(r'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"|[^\s\[\]{},:"]+')


def loads(text: bytes | bytearray) -> object:
    """The value of a JSON text, its integers exact whatever their size.

    Raises:
        BadInputError: the text is not JSON in UTF-8, holds a lone surrogate, a number beyond a double's range,
            or nests deeper than `json_bounds.MAX_DEPTH`.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadInputError(_explain(text, str(error))) from None
    return _loads_wide(text) if _has_wide_integers(text) else value


def _has_wide_integers(text: bytes | bytearray) -> bool:
    """Whether there may be an integer beyond 64 bits: 20 digits, or 19 after a minus, but for those of a fraction."""
    # A regular expression would take longer than all the parsing.
    zeros = text.translate(_DIGITS_AS_ZEROS)
    at = zeros.find(_RUN)
    while at >= 0:
        before, after = zeros[at - 1 : at], zeros[at + len(_RUN) : at + len(_RUN) + 1]
        if before == b"-" or (before != b"." and after == b"0"):
            return True
        at = zeros.find(_RUN, at + len(_RUN))
    return False


def _explain(text: bytes | bytearray, reason: str) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"not JSON in UTF-8: byte {error.start + 1:,} is no part of a UTF-8 text"
    if _NOT_A_NUMBER.search(text):
        return f"not JSON, which has no NaN or Infinity; send null or a string instead ({reason})"
    if "depth limit" in reason:
        return f"JSON nested deeper than {limits.MAX_DEPTH:,} levels"
    if "infinity" in reason:
        return f"JSON with a number beyond a double's range; send it as a string instead ({reason})"
    if "surrogate" in reason:
        return f"JSON with a lone surrogate, which no UTF-8 text can hold ({reason})"
    if "memory" in reason:  # orjson's word for more brackets than what is left of the text could close
        return "not JSON: it ends before all of its lists and objects are closed"
    return f"not JSON: {reason}"


def _loads_wide(text: bytes | bytearray) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        return _loads_deep(text.decode())


def _loads_deep(text: str) -> object:
    """The value of a text that is known to be JSON, without recursion."""
    waiting: list[list[Any]] = [[]]
    for word in map(itemgetter(0), _WORD.finditer(text)):
        if word in ("[", "{"):
            waiting.append([])
        elif word in ("]", "}"):
            parts = waiting.pop()
            waiting[-1].append(parts if word == "]" else dict(zip(parts[::2], parts[1::2], strict=True)))
        else:
            waiting[-1].append(json.loads(word))
    [[value]] = waiting
    return value


def dumps(value: object) -> bytes:
    """The JSON of a response, in UTF-8; an `orjson.Fragment` in it passes as it is."""
    return orjson.dumps(value)


def encode(value: object) -> str:
    """The compact JSON text of a value made of dicts, lists, strings, numbers, booleans and None.

    Raises:
        BadInputError: the value goes beyond `json_bounds`; the message says where.
    """
    if (text := encode_plain(value)) is not None:
        return text
    limits.check(value)
    return _encode_odd(value)


def encode_plain(value: object) -> str | None:
    """The same of a value that orjson encodes, in a moment however large it is; None of any other."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return None


def encode_part(part: object, whole: object) -> str:
    """The text of a list or object as it stands in the text that `encode` makes of the value around it."""
    return encode(part) if encode_plain(whole) is not None else _encode_odd(part)


def default_length(value: object) -> int:
    """The length of a value's JSON as Python writes it by default (`", "`, `": "`, ASCII), the measure of sizes."""
    try:
        return len(_DEFAULT(value))
    except RecursionError:
        return len(_encode_deep(value, ", ", ": ", ensure_ascii=True))


def canonical(value: object) -> str:
    """The text that stands for a value whatever the order of its keys: Python's default, with keys sorted.

    It is as long as `default_length` says.
    """
    try:
        return _CANONICAL(value)
    except RecursionError:
        return _encode_deep(value, ", ", ": ", ensure_ascii=True, sort_keys=True)


def canonical_in_pieces(value: object) -> str:
    """The same as `canonical`, made piece by piece: a thread that makes it lets others in between."""
    try:
        return "".join(_canonical_pieces(value))
    except RecursionError:
        return canonical(value)


def _canonical_pieces(value: object) -> Iterator[str]:
    if isinstance(value, dict) and not _is_piece(value.values()):
        yield "{"
        for number, key in enumerate(sorted(value)):
            yield f"{', ' if number else ''}{_CANONICAL(key)}: "
            yield from _canonical_pieces(value[key])
        yield "}"
    elif isinstance(value, list) and not _is_piece(value):
        yield "["
        for start in range(0, len(value), _PIECE):
            part = value[start : start + _PIECE]
            yield ", " if start else ""
            if _is_piece(part):
                yield _CANONICAL(part)[1:-1]
                continue
            for number, inner in enumerate(part):
                yield ", " if number else ""
                yield from _canonical_pieces(inner)
        yield "]"
    else:
        yield _CANONICAL(value)


def _is_piece(members: Collection[object]) -> bool:
    """Whether a list or object of these members is soon written: there are few, and none has members of its own."""
    return len(members) <= _PIECE and not any(isinstance(member, dict | list) for member in members)


def _encode_odd(value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        return _encode_deep(value, ",", ":", ensure_ascii=False)


class _Piece(str):
    """JSON text that is already made, among the values that wait in `_encode_deep`."""

    __slots__ = ()


def _encode_deep(value: object, item: str, colon: str, *, ensure_ascii: bool, sort_keys: bool = False) -> str:
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
                    for key, inner in (sorted(members.items(), key=itemgetter(0)) if sort_keys else members.items())
                    for part in (_Piece(item), _Piece(scalar(key) + colon), inner)
                ]
                waiting += [_Piece("}"), *reversed(parts[1:]), _Piece("{")]
            case list() as entries:
                parts = [part for inner in entries for part in (_Piece(item), inner)]
                waiting += [_Piece("]"), *reversed(parts[1:]), _Piece("[")]
            case leaf:
                pieces.append(scalar(leaf))
    return "".join(pieces)
