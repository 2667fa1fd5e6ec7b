"""Aggregation expressions for the texts of values, as `$convert` to string returns and `$contains` searches them.

A number's text is the shortest decimal that converts back to the same double, in JavaScript's notation; MongoDB's own
`$toString` keeps only six digits. The number is converted to a decimal of 34 digits by summing it with a decimal zero.
It is then rounded to 15, 16 and 17 digits, and the first result that converts back is used.
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
MAX_FOLDED_LENGTH: Final = 1_000
"""Characters of a text searched with letter case ignored: MongoDB spends time on each at every position."""

_MAX_REGEX_LENGTH: Final = 8_000
"""Characters of a text used as a regular expression; MongoDB limits their length."""

_NUMERALS: Final = re.compile(r"[-+.e0-9]*")
_WORDS: Final = ("true", "false", "-infinity")


def is_only_in_strings(text: str) -> bool:
    """Return True if no text of a number or boolean contains the text in any case, and it fits a regular expression."""
    folded = text.casefold()
    is_elsewhere = _NUMERALS.fullmatch(folded) or any(folded in word for word in _WORDS)
    return len(text) <= _MAX_REGEX_LENGTH and not is_elsewhere


def escaped(text: str) -> str:
    """Escape a text into the regular expression that matches exactly it."""
    return _SPECIAL.sub(lambda special: rf"\x{ord(special[0]):02x}", text)


def let_v(value: Expression, body: Expression) -> Expression:
    """Build a `$let` that computes `value` once and binds it to `$$v` in `body`."""
    return {"$let": {"vars": {"v": value}, "in": body}}


def switch(*branches: tuple[Expression, Expression], default: Expression = None) -> Expression:
    """Build the value of the first branch, a pair of condition and value, whose condition is true."""
    return {"$switch": {"branches": [{"case": case, "then": then} for case, then in branches], "default": default}}


def is_type(value: Expression, name: str) -> Expression:
    """Build the condition that a value has a type of MongoDB's."""
    return {"$eq": [{"$type": value}, name]}


_NO_BRACKET: Final = r'[^\[\]{}"]*+'
_JSON: Final = (
    r'(?<string>"[^"\\]*+(?:\\.[^"\\]*+)*+")'
    # Strings without escapes have their own alternative to save steps: MongoDB aborts a match after 200,000.
    rf'(?<nested>[\[{{]{_NO_BRACKET}(?:"[^"\\]*+"{_NO_BRACKET}|(?&nested){_NO_BRACKET}|(?&string){_NO_BRACKET})*+[\]}}])'
    r'(?<value>(?&string)|(?&nested)|[^,\[\]{}"]++)'
)
"""Regular expression groups, each for one element of a compact JSON text; none of them backtracks.

They are short because MongoDB 6 recompiles a condition's regular expression for each document.
"""


def of_part(text: Expression, steps: Sequence[str]) -> Expression:
    """Extract the text of the list or object at the end of `steps` from a compact JSON text; it must exist.

    `steps` are escaped as in the BSON copy. MongoDB fails with the code `error_translation.TOO_COMPLEX` if about 20,000
    lists and objects or 100,000 strings precede the end of the part; `in_python` handles such texts.
    """
    if not steps:
        return text
    match = {"$regexFind": {"input": text, "regex": _to_part(tuple(steps))}}
    return {"$let": {"vars": {"found": match}, "in": {"$last": "$$found.captures"}}}


@lru_cache(200)
def _to_part(steps: tuple[str, ...]) -> str:
    digits = max((len(step) for step in steps if is_index(step)), default=0)
    powers = [f"(?<members{power}>(?&members{power - 1}){{10}})" for power in range(2, digits + 1)]
    members = "".join(["(?<members1>(?&value),)", *powers] if digits else ())
    return rf"(?(DEFINE){_JSON}{members})\A{''.join(map(_to_member, steps))}((?&nested))"


def _to_member(step: str) -> str:
    """Return the regular expression from the start of a list or object to the member at a step."""
    key = escaped(f"{codec.encode(unescape_key(step))}:")
    # The key exists, so it is the first string after the members with other keys.
    to_key = rf"\{{(?:(?!{key})(?&string):(?&value),)*+(?&string):"
    if not is_index(step):
        return to_key
    # One count per digit of the index, since a regular expression repeats a group at most 65,535 times.
    skipped_members = "".join(
        f"(?&members{len(step) - position}){{{digit}}}" for position, digit in enumerate(step) if digit != "0"
    )
    return rf"(?:{to_key}|\[{skipped_members})"


_ESCAPED_IN_JSON: Final[list[Expression]] = [
    ["\\", "\\\\"],
    *([each, codec.encode(each)[1:-1]] for each in ('"', *map(chr, range(32)))),
]


def of_strings(strings: Expression) -> Expression:
    """Build the JSON text of a list of strings."""
    replaced = {"input": "$$value", "find": {"$first": "$$this"}, "replacement": {"$last": "$$this"}}
    inside = {"$reduce": {"input": _ESCAPED_IN_JSON, "initialValue": "$$string", "in": {"$replaceAll": replaced}}}
    texts = {"$map": {"input": strings, "as": "string", "in": {"$concat": [",", '"', inside, '"']}}}
    joined = {"$reduce": {"input": texts, "initialValue": "", "in": {"$concat": ["$$value", "$$this"]}}}
    return {"$concat": ["[", {"$ltrim": {"input": joined, "chars": ","}}, "]"]}


def of_time(micros: Expression) -> Expression:
    """Build the ISO 8601 text of microseconds since the epoch, with six fractional digits and `Z`; null for null."""
    # Integer arithmetic: beyond the year 2255 a double cannot represent single microseconds.
    rest = {"$mod": [{"$add": [{"$mod": [_V, 1_000_000]}, 1_000_000]}, 1_000_000]}
    date = {"$toDate": {"$toLong": {"$divide": [{"$subtract": [_V, rest]}, 1000]}}}
    clock = {"$dateToString": {"date": date, "format": "%Y-%m-%dT%H:%M:%S."}}
    digits = {"$substrBytes": [{"$toString": {"$toLong": {"$add": [rest, 1_000_000]}}}, 1, 6]}
    text = {"$concat": [clock, digits, "Z"]}
    return let_v(micros, {"$cond": [{"$isNumber": _V}, text, None]})


def _of_double() -> Expression:
    """Build the text of the double `$$v`, which has a fraction or more than 53 bits, from its mantissa and exponent."""
    # In MongoDB 7 `$add` keeps only 15 digits; `$sum` keeps 34.
    exact = {"$sum": [_V, _ZERO]}
    exponent = {"$floor": {"$log10": {"$abs": "$$exact"}}}
    # MongoDB 6 evaluates a decimal to the power of 0 as 0.
    power = {"$cond": [{"$eq": ["$$exponent", 0]}, _ONE, {"$pow": [_TEN, "$$exponent"]}]}
    return _let({"exact": exact}, _let({"exponent": exponent}, _let({"power": power}, _let(_SHORTEST, _NUMBER_TEXT))))


def _let(names: dict[str, Expression], use: Expression) -> Expression:
    return {"$let": {"vars": names, "in": use}}


def _rounded(places: Expression) -> Expression:
    return {"$round": [{"$divide": ["$$exact", "$$power"]}, places]}


def _converts_back(mantissa: Expression) -> Expression:
    decimal = {"$multiply": [mantissa, "$$power"]}
    return {"$eq": [{"$convert": {"input": decimal, "to": "double", "onError": None}}, _V]}


def _shortest_subnormal() -> Expression:
    """Find the mantissa of a subnormal double, which has 1 to 17 digits.

    `$convert` never returns a subnormal double. They are evenly spaced, so a decimal converts back if it is closer than
    half their distance.
    """
    mantissa = _rounded("$$this")
    distance = {"$abs": {"$subtract": [{"$multiply": [mantissa, "$$power"]}, "$$exact"]}}
    first_match = {"$ifNull": ["$$value", {"$cond": [{"$lt": [distance, _HALF_OF_LEAST_DOUBLE]}, mantissa, None]}]}
    return {"$reduce": {"input": list(range(17)), "initialValue": None, "in": first_match}}


_UNIT_OF_16TH_DIGIT: Final = {"$cond": [{"$lt": [_V, 0]}, Decimal128("-1E-15"), Decimal128("1E-15")]}
# For a power of two, the next decimal away from zero may convert back if the nearest does not: doubles are denser
# below.
_CANDIDATES: Final = (_rounded(14), _rounded(15), {"$add": [_rounded(15), _UNIT_OF_16TH_DIGIT]})

_SHORTEST: Final = {
    "mantissa": switch(
        ({"$lt": [{"$abs": _V}, sys.float_info.min]}, _shortest_subnormal()),
        *((_converts_back(mantissa), mantissa) for mantissa in _CANDIDATES),
        default=_rounded(16),
    )
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


_NUMBER_TEXT: Final = {
    "$cond": [
        {"$and": [{"$gte": [{"$abs": _V}, _LOWEST_FIXED]}, {"$lt": [{"$abs": _V}, _HIGHEST_FIXED]}]},
        _trimmed({"$add": [{"$multiply": ["$$mantissa", "$$power"]}, _ZERO]}),
        # Rounding may have raised a mantissa just below ten to ten.
        {"$cond": [{"$eq": [{"$abs": "$$mantissa"}, 10]}, _scientific(10, 1), _scientific(1, 0)]},
    ]
}

_NUMBER: Final = switch(
    ({"$ne": [{"$type": _V}, "double"]}, {"$toString": _V}),
    (
        {"$and": [{"$lt": [{"$abs": _V}, 1 << 53]}, {"$eq": [{"$trunc": _V}, _V]}]},
        {"$toString": {"$toLong": _V}},
    ),
    ({"$eq": [{"$abs": _V}, float("inf")]}, {"$toString": _V}),
    default=_of_double(),
)
SCALAR: Final[Expression] = switch(
    (is_type(_V, "string"), _V),
    ({"$isNumber": _V}, _NUMBER),
    ({"$eq": [_V, True]}, "true"),
    ({"$eq": [_V, False]}, "false"),
)
"""The text of the string, number or boolean `$$v`; null for any other value."""


def of_json(value: Expression, text: Expression, scalar: Expression = SCALAR) -> Expression:
    """Build the text of a JSON value: `text` if `$$v`, the value, is a list or an object, else `scalar`."""
    return let_v(value, {"$cond": [{"$in": [{"$type": _V}, ["object", "array"]]}, text, scalar]})
