"""Texts and JSON that are known to break programs, and harmless ones."""

import math
from random import Random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE: Final = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfffb",
    "\u202egnirts",
    "\u2066\u2069\u200f",
    "\ufeffmark",
    "\u2028\u2029",
    "\x1b[31m",
    "\r\nSet-Cookie: a=b",
    "$where",
    "$expr",
    "$",
    "$$ROOT",
    "a.b",
    "a..b",
    ".",
    "..",
    "inputs.",
    ".inputs",
    "inputs.$ne",
    "inputs.0.0.0",
    "a\\.b",
    "__proto__",
    "constructor",
    "../../etc/passwd",
    "%00",
    "%",
    "%ff%fe",
    "*",
    "(a+)+$",
    "null",
    "NaN",
    "-0",
    "1e999",
    "true",
    "a/b/c",
    "//",
    "weave:///",
    "weave:///demo/assistant/call/",
    "loomql:",
    "\u00e9" * 300,
    "e\u0301",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9" * 3,
    "x" * 5000,
    "\u0130\u0131\u017f\u212a\ufb00",
    "1970-01-01",
    "2026-02-30T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "99999-01-01T00:00:00Z",
    "2026-01-01T00:00:00+99:99",
    "latest",
    "v0",
    "v99999999999999999999",
)

NUMBERS: Final = (
    0,
    -1,
    1,
    -0.0,
    0.1,
    1e308,
    -1e308,
    5e-324,
    2**31 - 1,
    2**31,
    -(2**31) - 1,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**30,
    10**400,
    math.nan,
    math.inf,
    -math.inf,
)

TIMES: Final = (
    "2026-03-01T08:00:00Z",
    "2026-01-31T12:00:00.123456Z",
    "2026-01-31T12:00:00+05:45",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
)

_MEGABYTE: Final = 1_000_000
_DEEP: Final = (20, 60, 100, 150)


def word(random: Random) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz_", k=random.randint(1, 12)))


def text(random: Random) -> str:
    """Return a hostile text; one in some hundreds is about a megabyte long."""
    if random.random() < 0.003:
        return random.choice("a\u00e9\u202e\U0001f469") * (_MEGABYTE // random.choice((1, 2, 4)))
    if random.random() < 0.2:
        return "".join(chr(random.randrange(1, 0x3000)) for _ in range(random.randint(1, 30)))
    return random.choice(HOSTILE)


def broken(random: Random) -> Any:
    """Return a value of any type."""
    makers: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: random.choice((True, False)),
        lambda: random.choice(NUMBERS),
        lambda: text(random),
        lambda: json(random, wild=True),
        list,
        dict,
        lambda: deep(random),
    )
    return random.choices(makers, weights=(4, 2, 6, 8, 3, 2, 2, 1))[0]()


def deep(random: Random) -> Any:
    """Return deeply nested JSON."""
    value: Any = random.choice((1, "x", None))
    key = random.choice(("a", "$and", "a.b", None))
    for _ in range(random.choice(_DEEP)):
        value = [value] if key is None else {key: value}
    return value


def dense(random: Random, most_bytes: int = 4 * _MEGABYTE) -> str:
    """Return JSON of a list of very many small values, which take many times its size when parsed."""
    value = random.choice(("{}", "[]", "0", '""', "null", '{"a":0}', "[[]]", '[{},""]', "1.5"))
    size = random.choice((most_bytes // 200, most_bytes // 20, most_bytes))
    return f"[{','.join([value] * (size // (len(value) + 1)))}]"


def json(random: Random, depth: int = 3, *, wild: bool = False) -> Any:
    """Return random JSON of at most the given depth, with hostile keys and values if `wild`."""
    shape = random.random()
    if depth == 0 or shape < 0.4:
        return _leaf(random, wild=wild)
    if shape < 0.6:
        return [json(random, depth - 1, wild=wild) for _ in range(random.randint(0, 4))]
    return {_key(random, wild=wild): json(random, depth - 1, wild=wild) for _ in range(random.randint(0, 5))}


def _key(random: Random, *, wild: bool) -> str:
    return (
        text(random) if wild and random.random() < 0.5 else random.choice(("question", "messages", "a", "0", "_type"))
    )


def _leaf(random: Random, *, wild: bool) -> Any:
    if wild and random.random() < 0.5:
        return random.choice((*NUMBERS, text(random)))
    return random.choice((None, True, random.randint(-5, 1000), random.random(), word(random)))
