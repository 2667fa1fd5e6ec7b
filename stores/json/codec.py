"""JSON text: parsed once on input, stored as received, spliced unparsed into responses.

orjson parses and writes. Its limits (integers of 64 bits, 254 levels) have slower fallbacks with the same result, so
every accepted value returns unchanged.
"""

import json
import re
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final

import orjson

from stores.errors import BadInputError
from stores.json import AnyJson
from stores.json.paths import MAX_DEPTH, check_limits

_CANONICAL: Final = json.JSONEncoder(allow_nan=False, sort_keys=True)
_COMPACT: Final = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))
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
    return _encode(value, _COMPACT)


def encode_plain(value: object) -> str | None:
    """Encode a value like `encode`, if orjson can, which is fast for any size; None otherwise."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return None


def encode_part(part: object, whole: object) -> str:
    """Encode a list or object inside `whole` with the same text as in `encode(whole)`."""
    return encode(part) if encode_plain(whole) is not None else _encode(part, _COMPACT)


def canonical(value: object) -> str:
    """Encode a value independently of the order of its keys: Python's default format with sorted keys."""
    return _encode(value, _CANONICAL)


def canonical_incrementally(value: object) -> str:
    """Encode like `canonical`, but in pieces, so that a thread lets other threads run in between."""
    return _encode_in_pieces(value, _CANONICAL)


def _encode(value: object, encoder: json.JSONEncoder) -> str:
    try:
        return encoder.encode(value)
    except RecursionError:
        return _encode_in_pieces(value, encoder)


def _encode_in_pieces(value: object, encoder: json.JSONEncoder) -> str:
    """Encode a value without recursion; up to 500 members without lists and objects among them are one piece."""
    pieces: list[str] = []
    stack = [_parts([value], encoder)]
    while stack:
        for part in stack[-1]:
            if not isinstance(part, str):
                stack.append(_parts(part, encoder))
                break
            pieces.append(part)
        else:
            stack.pop()
    return "".join(pieces)[1:-1]


def _parts(container: AnyJson, encoder: json.JSONEncoder) -> Iterator[str | list[Any] | dict[str, Any]]:
    """Yield the parts of a list or object in order: pieces of its text, and members that need pieces of their own."""
    is_object, encode, colon = isinstance(container, dict), encoder.encode, encoder.key_separator
    yield "{" if is_object else "["
    members = sorted(container) if is_object and encoder.sort_keys else list(container)
    for start in range(0, len(members), _PIECE_SIZE):
        comma = encoder.item_separator if start else ""
        some = members[start : start + _PIECE_SIZE]
        batch = {key: container[key] for key in some} if is_object else some
        if len(members) > _PIECE_SIZE and _is_small(batch):
            yield comma + encode(batch)[1:-1]
            continue
        for each in some:
            head, inner = (f"{comma}{encode(each)}{colon}", container[each]) if is_object else (comma, each)
            if _is_small(inner):
                yield head + encode(inner)
            else:
                yield head
                yield inner
            comma = encoder.item_separator
    yield "}" if is_object else "]"


def _is_small(value: object) -> bool:
    """True for a value that is encoded in one step: a scalar, or few members without lists and objects among them."""
    if not isinstance(value, dict | list):
        return True
    members = value.values() if isinstance(value, dict) else value
    return len(members) <= _PIECE_SIZE and not any(isinstance(member, dict | list) for member in members)
