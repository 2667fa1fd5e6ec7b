"""Functions that damage valid texts, bytes and documents."""

import re
from collections.abc import Callable
from random import Random
from typing import Final

from tests.fuzz import texts

_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|\w+|\.\.\.|\s+|[^\w\s]')
_STRAY: Final = (
    "{", "}", "(", ")", "[", "]", "...", "@", "$", ":", "!", "|", "&", '"', '"""', "#", "\n", ",", "\ufeff", "\0",
    "\u202e", "\ud83d", "fragment", "on", "query", "mutation", "subscription",
    "null", "true", "-", "0", "1e", "0x", "\\u",
    '"\\u{110000}"', '"\\ud800"', "@skip(if: true)", "@include", "@defer",
    "@stream", "@oneOf", "__typename", "__schema{x}",
    "# a comment", "\u00e9", "[" * 3000, "{a" * 3000, "{a:" * 1000,
)  # fmt: skip


def of_text(random: Random, text: str) -> str:
    """Return a slightly changed text."""
    if not text:
        return texts.text(random)
    at = random.randrange(len(text))
    ways = (
        lambda: text[:at],
        lambda: text[:at] + text[at + 1 :],
        lambda: text[:at] + chr(random.randrange(33, 126)) + text[at + 1 :],
        lambda: text[:at] + random.choice(texts.HOSTILE) + text[at:],
        lambda: text + text,
        text.swapcase,
        lambda: text[::-1],
    )
    return random.choice(ways)()


def of_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes with random bits flipped and bytes cut, inserted or repeated."""
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        at = random.randrange(len(damaged) + 1)
        _byte_ways(random, damaged, at)[random.randrange(6)]()
    return bytes(damaged)


def _byte_ways(random: Random, data: bytearray, at: int) -> tuple[Callable[[], None], ...]:
    def turn() -> None:
        if at < len(data):
            data[at] ^= 1 << random.randrange(8)

    def cut() -> None:
        del data[at : at + random.choice((1, 2, 8, 64, 1 << 20))]

    def insert() -> None:
        data[at:at] = random.randbytes(random.choice((1, 2, 8)))

    def double() -> None:
        data[at:at] = data[at : at + random.choice((2, 16, 256))]

    def overlong() -> None:
        data[at : at + 1] = b"\xff" * random.choice((1, 5, 10))

    def zero() -> None:
        data[at : at + 4] = b"\0\0\0\0"

    return turn, cut, insert, double, overlong, zero


def of_document(random: Random, document: str) -> str:
    """Return a GraphQL document with tokens removed, inserted, repeated, replaced or damaged."""
    tokens = _TOKEN.findall(document)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(tokens) + 1)
        way = random.randrange(5)
        if way == 0:
            del tokens[at : at + 1]
        elif way == 1:
            tokens.insert(at, random.choice(_STRAY))
        elif way == 2:
            tokens[at:at] = tokens[at : at + random.choice((1, 5, 50))]
        elif way == 3:
            tokens[at : at + 1] = [random.choice(tokens or ["x"])]
        else:
            tokens[at : at + 1] = [of_text(random, tokens[at]) if at < len(tokens) else "{"]
    return "".join(tokens)
