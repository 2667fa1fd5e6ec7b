"""The terms of a call: for each value inside its JSON, a key of path and value.

A key is the path, a NUL, a tag for the type, and the value so that keys sort as the values do. A range of keys
therefore holds all values of a path, a range of numbers or texts, or all texts with a prefix. The terms are a necessary
condition only, so a key may stand for several values: long texts are cut, and an integer beyond 53 bits is rounded.
"""

import base64
import hashlib
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, Final
from zlib import crc32

from stores.query.fields import MAX_PATH_KEYS

FIELDS: Final = ("inputs", "output", "attributes", "summary")
"""Fields of a call whose values have terms."""

MAX_KEYS: Final = 150
"""Maximum keys of one call, besides one for each list or object whose members have no keys."""

MAX_TEXT: Final = 1_000
"""Maximum bytes of a text that its key holds as a whole."""

MAX_PATH: Final = 150
"""Maximum characters of a path; the rest of a longer one is hashed."""

LONG_TEXT_BYTES: Final = 8
"""Bytes of a longer text that its key holds, before a checksum."""

HASHED: Final = b"\xfe"
"""A byte that no text in UTF-8 has, before the hash of a long path."""

_PATH_CHARACTERS: Final = 100
_PATH_DIGEST_BYTES: Final = 9

BOOLEAN, NESTED, NUMBER, TEXT, LONG_TEXT = (b"\0b", b"\0c", b"\0n", b"\0s", b"\0t")
"""The tags, with the NUL that precedes them."""

LEFT_OUT: Final = b"\0x"
"""Start of the key of a list or an object whose members have no keys.

These keys sort before all others, so the first fence says if there are any: few calls have one.
"""

encode: Final = partial(str.encode, encoding="utf-8", errors="surrogatepass")
"""Encodes any text of a query; those of calls have no lone surrogates."""

_SIGN: Final = 1 << 63
_ALL_BITS: Final = (1 << 64) - 1
_DOUBLE: Final = struct.Struct(">d")
_BITS: Final = struct.Struct(">Q")


def keys_of(call: Mapping[str, Any]) -> list[bytes]:
    """Return the keys of a call, from the BSON copies of its JSON."""
    keys: list[bytes] = []
    level: list[tuple[bytes, Any]] = []
    for name in FIELDS:
        value = call.get(name)
        if value is not None:
            _add(keys, level, name.encode(), value)
    room = MAX_KEYS
    for _ in range(MAX_PATH_KEYS):
        if not level:
            break
        outer, level = level, []
        for path, container in outer:
            if len(container) > room:
                keys.append(LEFT_OUT + path)
                continue
            room -= len(container)
            for step, member in container.items() if type(container) is dict else enumerate(container):
                if member is None:
                    continue
                inner = extended(path, step)
                if type(member) is str:
                    keys.append(inner + text_tail(member))
                else:
                    _add(keys, level, inner, member)
    return keys


def _add(keys: list[bytes], level: list[tuple[bytes, Any]], path: bytes, value: object) -> None:
    """Add the key of a value; and the value to `level`, if it has members."""
    if isinstance(value, dict | list):
        keys.append(path + NESTED)
        if value:
            level.append((path, value))
    else:
        keys.append(path + tail_of(value))


def path_of(steps: Iterable[str]) -> bytes:
    """Return the path of some steps, escaped as in the BSON copy; the first one is the name of the field."""
    name, *others = steps
    path = encode(name)
    for step in others:
        path = extended(path, step)
    return path


@lru_cache(50_000)  # programs repeat their paths
def extended(path: bytes, step: str | int) -> bytes:
    """Return the path to a member: an index is written as a key of this number, as queries name both."""
    longer = b"%b.%b" % (path, encode(str(step)))
    if len(longer) <= MAX_PATH:
        return longer
    digest = hashlib.blake2b(longer, digest_size=_PATH_DIGEST_BYTES).digest()
    return longer[:_PATH_CHARACTERS] + HASHED + base64.b64encode(digest)


def tail_of(value: object) -> bytes:
    """Return tag and value in the key of a text, a number or a boolean.

    Raises:
        TypeError: if it is another value.
    """
    match value:
        case str():
            return text_tail(value)
        case bool():
            return BOOLEAN + (b"1" if value else b"0")
        case int() | float():
            return number_tail(value)
        case _:
            raise TypeError(value)


def number_tail(value: float) -> bytes:
    """Return tag and value in the key of a number: hexadecimal digits that sort as the nearest doubles do."""
    [bits] = _BITS.unpack(_DOUBLE.pack(value + 0.0))  # no negative zero
    return b"\0n%016x" % (bits ^ (_ALL_BITS if bits & _SIGN else _SIGN))


def text_tail(text: str) -> bytes:
    """Return tag and value in the key of a text."""
    encoded = encode(text)
    if len(encoded) <= MAX_TEXT:
        return TEXT + encoded
    return b"\0t%b%06x" % (encoded[:LONG_TEXT_BYTES], crc32(encoded) & 0xFFFFFF)
