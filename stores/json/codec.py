"""JSON text: parsed once on input, stored as received, spliced unparsed into responses.

orjson parses and writes. Its limits (integers of 64 bits, 254 levels) have slower fallbacks with the same result, so
every accepted value returns unchanged.
"""

import json
import re
from collections.abc import Collection, Iterator
from operator import itemgetter
from typing import Any, Final

import orjson

from stores.errors import BadInputError
from stores.json.paths import MAX_DEPTH, check_limits

_CANONICAL: Final = json.JSONEncoder(allow_nan=False, sort_keys=True).encode
_PIECE_SIZE: Final = 500
"""Members of a list that are encoded in one step."""

_DIGITS_AS_ZEROS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_RUN: Final = b"0" * 19
_NOT_A_NUMBER: Final = re.compile(rb"(?:\A|[:\[,\s])(-?Infinity|NaN)\b")
_TOKEN: Final = re.compile(r'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"|[^\s\[\]{},:"]+')


def loads(text: bytes | bytearray) -> object:
    """Parse a JSON text; integers are exact, whatever their size.

    Raises:
        BadInputError: if the text is not JSON in UTF-8, contains a lone surrogate or a number beyond a double's range,
            or nests deeper than `MAX_DEPTH`.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadInputError(_parse_error(text, str(error))) from None
    return _loads_wide(text) if _has_wide_integers(text) else value


def _has_wide_integers(text: bytes | bytearray) -> bool:
    """True if an integer may exceed 64 bits: 20 digits, or 19 after a minus sign, not counting fractions."""
    # A regular expression would take longer than all the parsing.
    zeros = text.translate(_DIGITS_AS_ZEROS)
    at = zeros.find(_RUN)
    while at >= 0:
        before, after = zeros[at - 1 : at], zeros[at + len(_RUN) : at + len(_RUN) + 1]
        if before == b"-" or (before != b"." and after == b"0"):
            return True
        at = zeros.find(_RUN, at + len(_RUN))
    return False


def _parse_error(text: bytes | bytearray, reason: str) -> str:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return f"not JSON in UTF-8: byte {error.start + 1:,} is not valid UTF-8"
    if _NOT_A_NUMBER.search(text):
        return f"not JSON: NaN and Infinity are not allowed; send null or a string instead ({reason})"
    if "depth limit" in reason:
        return f"JSON nested deeper than {MAX_DEPTH:,} levels; flatten it"
    if "infinity" in reason:
        return f"JSON with a number beyond a double's range; send it as a string instead ({reason})"
    if "surrogate" in reason:
        return f"JSON with a lone surrogate, which is not valid in UTF-8; remove it ({reason})"
    if "memory" in reason:  # orjson's message if more brackets are open than the rest of the text can close
        return "not JSON: it ends before all of its lists and objects are closed"
    return f"not JSON: {reason}"


def _loads_wide(text: bytes | bytearray) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        return _loads_deep(text.decode())


def _loads_deep(text: str) -> object:
    """Parse a valid JSON text without recursion."""
    stack: list[list[Any]] = [[]]
    for lexeme in map(itemgetter(0), _TOKEN.finditer(text)):
        if lexeme in ("[", "{"):
            stack.append([])
        elif lexeme in ("]", "}"):
            parts = stack.pop()
            stack[-1].append(parts if lexeme == "]" else dict(zip(parts[::2], parts[1::2], strict=True)))
        else:
            stack[-1].append(json.loads(lexeme))
    [[value]] = stack
    return value


def dumps(value: object) -> bytes:
    """Encode the JSON of a response as UTF-8; an `orjson.Fragment` in it is copied unchanged."""
    return orjson.dumps(value)


def encode(value: object) -> str:
    """Encode a value of dicts, lists, strings, numbers, booleans and None as compact JSON.

    Raises:
        BadInputError: if the value exceeds the limits of `paths`; the message names the path.
    """
    if (text := encode_plain(value)) is not None:
        return text
    check_limits(value)
    return _encode_slow(value)


def encode_plain(value: object) -> str | None:
    """Encode a value like `encode`, if orjson can, which is fast for any size; None otherwise."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return None


def encode_part(part: object, whole: object) -> str:
    """Encode a list or object inside `whole` with the same text as in `encode(whole)`."""
    return encode(part) if encode_plain(whole) is not None else _encode_slow(part)


def canonical(value: object) -> str:
    """Encode a value independently of the order of its keys: Python's default format with sorted keys."""
    try:
        return _CANONICAL(value)
    except RecursionError:
        return _encode_deep(value, ", ", ": ", ensure_ascii=True, sort_keys=True)


def canonical_incrementally(value: object) -> str:
    """Encode like `canonical`, but in pieces, so that a thread lets other threads run in between."""
    try:
        return "".join(_canonical_pieces(value))
    except RecursionError:
        return canonical(value)


def _canonical_pieces(value: object) -> Iterator[str]:
    if isinstance(value, dict) and not _is_small(value.values()):
        yield "{"
        for number, key in enumerate(sorted(value)):
            yield f"{', ' if number else ''}{_CANONICAL(key)}: "
            yield from _canonical_pieces(value[key])
        yield "}"
    elif isinstance(value, list) and not _is_small(value):
        yield "["
        for start in range(0, len(value), _PIECE_SIZE):
            part = value[start : start + _PIECE_SIZE]
            yield ", " if start else ""
            if _is_small(part):
                yield _CANONICAL(part)[1:-1]
                continue
            for number, inner in enumerate(part):
                yield ", " if number else ""
                yield from _canonical_pieces(inner)
        yield "]"
    else:
        yield _CANONICAL(value)


def _is_small(members: Collection[object]) -> bool:
    """True if a list or object with these members is encoded in one step: few members, and no containers among them."""
    return len(members) <= _PIECE_SIZE and not any(isinstance(member, dict | list) for member in members)


def _encode_slow(value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        return _encode_deep(value, ",", ":", ensure_ascii=False)


class _Piece(str):
    """Encoded JSON text on the stack of `_encode_deep`, as opposed to values that are not encoded yet."""

    __slots__ = ()


def _encode_deep(value: object, item: str, colon: str, *, ensure_ascii: bool, sort_keys: bool = False) -> str:
    scalar = json.JSONEncoder(ensure_ascii=ensure_ascii, allow_nan=False).encode
    pieces: list[str] = []
    stack: list[object] = [value]
    while stack:
        match stack.pop():
            case _Piece() as piece:
                pieces.append(piece)
            case dict() as members:
                parts = [
                    part
                    for key, inner in (sorted(members.items(), key=itemgetter(0)) if sort_keys else members.items())
                    for part in (_Piece(item), _Piece(scalar(key) + colon), inner)
                ]
                stack += [_Piece("}"), *reversed(parts[1:]), _Piece("{")]
            case list() as entries:
                parts = [part for inner in entries for part in (_Piece(item), inner)]
                stack += [_Piece("]"), *reversed(parts[1:]), _Piece("[")]
            case leaf:
                pieces.append(scalar(leaf))
    return "".join(pieces)
