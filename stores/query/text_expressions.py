"""Texts of values in aggregation expressions: what `$convert` to a string gives, and `$contains` looks through.

A number's text is the shortest decimal that reads back as the same double, written as JavaScript writes it: MongoDB's
own `$toString` keeps six digits only. It is found in decimals: the sum with a decimal zero has 34 digits of a double,
of which the first of 15, 16 or 17 that converts back is taken.
"""

import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from bson import Decimal128

from stores.json import codec
from stores.json.bson_copy import unescape_key
from stores.query.fields import is_index

Expression = Any

_V: Final = "$$v"
_ZERO: Final = Decimal128("0")
_ONE: Final = Decimal128("1")
_TEN: Final = Decimal128("10")
_HALF_OF_LEAST_DOUBLE: Final = Decimal128("2.470328229206232720882843964341107E-324")
_LOWEST_FIXED: Final = 1e-6
_HIGHEST_FIXED: Final = 1e21

_SPECIAL: Final = re.compile(r"[^0-9A-Za-z_\u0080-\U0010ffff]")
MAX_FOLDED: Final = 1_000
"""Characters of a text that are looked for with letter case folded: MongoDB takes time for each, at each place."""

_LONGEST_EXPRESSION: Final = 8_000
"""Characters of a text as a regular expression; MongoDB bounds these."""

_BEFORE_SURROGATES, _AFTER_SURROGATES = 0xD7FF, 0xE000

_NUMERALS: Final = re.compile(r"[-+.e0-9]*")
_WORDS: Final = ("true", "false", "-infinity")


def is_only_in_strings(text: str) -> bool:
    """Whether no text of a number or boolean holds this one in any letter case, and a regular expression may."""
    folded = text.casefold()
    is_elsewhere = _NUMERALS.fullmatch(folded) or any(folded in word for word in _WORDS)
    return len(text) <= _LONGEST_EXPRESSION and not is_elsewhere


def escaped(text: str) -> str:
    """A text as the regular expression that matches just it."""
    return _SPECIAL.sub(lambda special: rf"\x{ord(special[0]):02x}", text)


def starting_with(prefix: str) -> dict[str, str]:
    """The match of texts that start with a prefix, as a range: up to the next text that does not."""
    shorter = prefix.rstrip(chr(sys.maxunicode))
    if not shorter:
        return {"$gte": prefix}
    last = ord(shorter[-1])
    following = _AFTER_SURROGATES if last == _BEFORE_SURROGATES else last + 1
    return {"$gte": prefix, "$lt": shorter[:-1] + chr(following)}


def of_json(value: Expression, text: Expression) -> Expression:
    """The text of a JSON value; `text` gives it where the value, `$$v`, is a list or an object."""
    return _of_nested(value, text, SCALAR)


def of_nested(value: Expression, text: Expression) -> Expression:
    """The text of a JSON value that is a list or an object, which `text` gives of `$$v`; null for any other value."""
    return _of_nested(value, text, None)


def _of_nested(value: Expression, text: Expression, otherwise: Expression) -> Expression:
    is_nested = {"$in": [{"$type": _V}, ["object", "array"]]}
    return {"$let": {"vars": {"v": value}, "in": {"$cond": [is_nested, text, otherwise]}}}


_NO_BRACKET: Final = r'[^\[\]{}"]*+'
_JSON: Final = (
    r'(?<string>"[^"\\]*+(?:\\.[^"\\]*+)*+")'
    # Strings without escapes have an alternative of their own, since MongoDB gives up a match after 200,000 steps.
    rf'(?<nested>[\[{{]{_NO_BRACKET}(?:"[^"\\]*+"{_NO_BRACKET}|(?&nested){_NO_BRACKET}|(?&string){_NO_BRACKET})*+[\]}}])'
    r'(?<value>(?&string)|(?&nested)|[^,\[\]{}"]++)'
)
"""Groups of a regular expression, each for one part of a compact JSON text; none of them backtracks.

They are short since MongoDB 6 compiles the regular expression of a condition again for each document.
"""


def of_part(text: Expression, steps: Sequence[str]) -> Expression:
    """The part of a compact JSON text that is the list or object at the end of some steps, which must be there.

    The mirror spells the steps. MongoDB fails with the code `driver_errors.TOO_COMPLEX` if some 20,000 lists and
    objects, or some 100,000 strings, precede the end of the part; `in_python` is for such texts.
    """
    if not steps:
        return text
    found = {"$regexFind": {"input": text, "regex": _to_part(tuple(steps))}}
    return {"$let": {"vars": {"found": found}, "in": {"$last": "$$found.captures"}}}


@lru_cache(200)
def _to_part(steps: tuple[str, ...]) -> str:
    digits = max((len(step) for step in steps if is_index(step)), default=0)
    powers = [f"(?<members{power}>(?&members{power - 1}){{10}})" for power in range(2, digits + 1)]
    members = "".join(["(?<members1>(?&value),)", *powers] if digits else ())
    return rf"(?(DEFINE){_JSON}{members})\A{''.join(map(_to_member, steps))}((?&nested))"


def _to_member(step: str) -> str:
    """The regular expression of the text of a list or object from its start to the member at a step."""
    key = escaped(f"{codec.encode(unescape_key(step))}:")
    # The key is there, so it is the string that follows the members with other keys.
    to_key = rf"\{{(?:(?!{key})(?&string):(?&value),)*+(?&string):"
    if not is_index(step):
        return to_key
    # A count for each digit of the index, since a regular expression repeats a group at most 65,535 times.
    passed = "".join(f"(?&members{len(step) - at}){{{digit}}}" for at, digit in enumerate(step) if digit != "0")
    return rf"(?:{to_key}|\[{passed})"


_ESCAPED_IN_JSON: Final[list[Expression]] = [
    ["\\", "\\\\"],
    *([each, codec.encode(each)[1:-1]] for each in ('"', *map(chr, range(32)))),
]


def of_strings(strings: Expression) -> Expression:
    """The JSON text of a list of strings."""
    replaced = {"input": "$$value", "find": {"$first": "$$this"}, "replacement": {"$last": "$$this"}}
    inside = {"$reduce": {"input": _ESCAPED_IN_JSON, "initialValue": "$$string", "in": {"$replaceAll": replaced}}}
    texts = {"$map": {"input": strings, "as": "string", "in": {"$concat": [",", '"', inside, '"']}}}
    joined = {"$reduce": {"input": texts, "initialValue": "", "in": {"$concat": ["$$value", "$$this"]}}}
    return {"$concat": ["[", {"$ltrim": {"input": joined, "chars": ","}}, "]"]}


def of_time(micros: Expression) -> Expression:
    """The ISO 8601 text of microseconds since the epoch, with six digits and `Z`; null for null."""
    # In integers: beyond the year 2255 a double does not tell one microsecond from the next.
    rest = {"$mod": [{"$add": [{"$mod": [_V, 1_000_000]}, 1_000_000]}, 1_000_000]}
    date = {"$toDate": {"$toLong": {"$divide": [{"$subtract": [_V, rest]}, 1000]}}}
    clock = {"$dateToString": {"date": date, "format": "%Y-%m-%dT%H:%M:%S."}}
    digits = {"$substrBytes": [{"$toString": {"$toLong": {"$add": [rest, 1_000_000]}}}, 1, 6]}
    text = {"$concat": [clock, digits, "Z"]}
    return {"$let": {"vars": {"v": micros}, "in": {"$cond": [{"$isNumber": _V}, text, None]}}}


def _of_number() -> Expression:
    is_short = {"$and": [{"$lt": [{"$abs": _V}, 1 << 53]}, {"$eq": [{"$trunc": _V}, _V]}]}
    branches = [
        {"case": {"$ne": [{"$type": _V}, "double"]}, "then": {"$toString": _V}},
        {"case": is_short, "then": {"$toString": {"$toLong": _V}}},
        {"case": {"$eq": [{"$abs": _V}, float("inf")]}, "then": {"$toString": _V}},
    ]
    return {"$switch": {"branches": branches, "default": _of_double()}}


def _of_double() -> Expression:
    """The text of the double `$$v`, which has a fraction or more than 53 bits: mantissa and exponent, put together."""
    # MongoDB 7 keeps 15 digits only in `$add`; `$sum` keeps 34 there, too.
    exact = {"$sum": [_V, _ZERO]}
    exponent = {"$floor": {"$log10": {"$abs": "$$exact"}}}
    # MongoDB 6 takes the power of a decimal to 0 for 0.
    power = {"$cond": [{"$eq": ["$$exponent", 0]}, _ONE, {"$pow": [_TEN, "$$exponent"]}]}
    return _let({"exact": exact}, _let({"exponent": exponent}, _let({"power": power}, _let(_SHORTEST, _WRITTEN))))


def _let(names: dict[str, Expression], use: Expression) -> Expression:
    return {"$let": {"vars": names, "in": use}}


def _rounded(places: Expression) -> Expression:
    return {"$round": [{"$divide": ["$$exact", "$$power"]}, places]}


def _reads_back(mantissa: Expression) -> Expression:
    decimal = {"$multiply": [mantissa, "$$power"]}
    return {"$eq": [{"$convert": {"input": decimal, "to": "double", "onError": None}}, _V]}


def _shortest_subnormal() -> Expression:
    """The mantissa of a double below the normal ones, which has 1 to 17 digits.

    `$convert` refuses to give such a double. They lie evenly, so a decimal reads back if it is nearer than half a step.
    """
    mantissa = _rounded("$$this")
    distance = {"$abs": {"$subtract": [{"$multiply": [mantissa, "$$power"]}, "$$exact"]}}
    found = {"$ifNull": ["$$value", {"$cond": [{"$lt": [distance, _HALF_OF_LEAST_DOUBLE]}, mantissa, None]}]}
    return {"$reduce": {"input": list(range(17)), "initialValue": None, "in": found}}


_LAST_OF_16: Final = {"$cond": [{"$lt": [_V, 0]}, Decimal128("-1E-15"), Decimal128("1E-15")]}
# Of a power of two, the next decimal away from zero may read back where the nearest does not: doubles are denser below.
_CANDIDATES: Final = (_rounded(14), _rounded(15), {"$add": [_rounded(15), _LAST_OF_16]})

_SHORTEST: Final = {
    "mantissa": {
        "$switch": {
            "branches": [
                {"case": {"$lt": [{"$abs": _V}, sys.float_info.min]}, "then": _shortest_subnormal()},
                *({"case": _reads_back(mantissa), "then": mantissa} for mantissa in _CANDIDATES),
            ],
            "default": _rounded(16),
        }
    }
}


def _trimmed(decimal: Expression) -> Expression:
    text = {"$toString": decimal}
    has_point = {"$gte": [{"$indexOfBytes": [text, "."]}, 0]}
    without = {"$rtrim": {"input": {"$rtrim": {"input": text, "chars": "0"}}, "chars": "."}}
    return {"$cond": [has_point, without, text]}


def _scientific(divisor: int, carry: int) -> Expression:
    exponent = {"$toInt": {"$add": ["$$exponent", carry]}}
    sign = {"$cond": [{"$lt": [exponent, 0]}, "e-", "e+"]}
    return {"$concat": [_trimmed({"$divide": ["$$mantissa", divisor]}), sign, {"$toString": {"$abs": exponent}}]}


_WRITTEN: Final = {
    "$cond": [
        {"$and": [{"$gte": [{"$abs": _V}, _LOWEST_FIXED]}, {"$lt": [{"$abs": _V}, _HIGHEST_FIXED]}]},
        _trimmed({"$add": [{"$multiply": ["$$mantissa", "$$power"]}, _ZERO]}),
        # A mantissa of just below ten may have been rounded up to it.
        {"$cond": [{"$eq": [{"$abs": "$$mantissa"}, 10]}, _scientific(10, 1), _scientific(1, 0)]},
    ]
}

_SCALAR_BRANCHES: Final = [
    {"case": {"$eq": [{"$type": _V}, "string"]}, "then": _V},
    {"case": {"$isNumber": _V}, "then": _of_number()},
    {"case": {"$eq": [_V, True]}, "then": "true"},
    {"case": {"$eq": [_V, False]}, "then": "false"},
]
SCALAR: Final[Expression] = {"$switch": {"branches": _SCALAR_BRANCHES, "default": None}}
"""The text of the string, number or boolean `$$v`; null for anything else."""
