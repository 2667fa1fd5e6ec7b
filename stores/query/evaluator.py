"""Whether a query holds for one document that is at hand, without asking the database.

It says the same as the compiled match (`match_compiler`), which tests hold it to, of a document as it is stored but
for the mirrors: JSON is decoded from its exact text, once for all who ask.
"""

import math
import operator
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from stores import times
from stores.json import codec, paths
from stores.json.bson_copy import to_bson, unescape_key
from stores.json.incremental import loads_incrementally
from stores.query.fields import Access, Kind
from stores.query.syntax_tree import (
    And,
    Compare,
    Comparison,
    Contains,
    Convert,
    Get,
    In,
    Literal,
    Not,
    Operand,
    Or,
    Target,
)
from stores.query.value_expressions import time_literal

Value = Any
"""A JSON value as Python decodes it; what is missing is None."""

LARGE: Final = 256 * 1024
"""Bytes of JSON that are decoded within a turn; more hold up all else, but for a thread."""

_PIECE: Final = 64 * 1024
"""Characters that are folded before another thread has its turn."""
_INT64: Final = 1 << 63
_DOUBLE: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_MOST_DIGITS: Final = 400
"""Of an integer that may lie within 64 bits but for zeros; Python is slow to read very many."""
_FIXED: Final = (1e-6, 1e21)


class Values:
    """The values of a document's fields.

    Those of a large one are to be asked for in a thread, where they let others in between.
    """

    __slots__ = ("_decoded", "_document", "_folded", "_parts")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._decoded: dict[str, Value] = {}
        self._folded: dict[str, str] = {}
        self._parts: dict[tuple[str, ...], str] = {}

    def field(self, path: str) -> Value:
        """The value that is stored at a path without dots, or None."""
        return self._document.get(path)

    def text(self, name: str) -> str | None:
        """The exact text of a JSON field, or None."""
        text: str | None = self._document.get("json", {}).get(name)
        return text

    def decoded(self, name: str) -> Value:
        """The value of a JSON field, or None."""
        if name not in self._decoded:
            text = self.text(name)
            self._decoded[name] = None if text is None else _loads(text.encode())
        return self._decoded[name]

    def part_text(self, name: str, steps: Sequence[str], part: Value) -> str | None:
        """The text of a list or object inside a JSON field, as it stands in the field's text; made once for all."""
        if not steps:
            return self.text(name)
        at = (name, *steps)
        if at not in self._parts:
            self._parts[at] = codec.encode_part(part, self.decoded(name))
        return self._parts[at]

    def folded(self, text: str) -> str:
        """A text among the values with its case folded, made once for all who ask."""
        if text not in self._folded:
            self._folded[text] = _fold(text)
        return self._folded[text]


def _loads(text: bytes) -> Value:
    return codec.loads(text) if len(text) <= LARGE else loads_incrementally(text)


Getter = Callable[[Values], Value]
Test = Callable[[Values], bool]


def compile_test(node: Operand) -> Test:
    """Whether a node holds for the values of a document; an operand does where it is the boolean true."""
    match node:
        case And(terms):
            tests = [compile_test(term) for term in terms]
            return lambda values: all(test(values) for test in tests)
        case Or(terms):
            tests = [compile_test(term) for term in terms]
            return lambda values: any(test(values) for test in tests)
        case Not(term):
            positive = compile_test(term)
            return lambda values: not positive(values)
        case Compare(comparison, left, right):
            first, second, compare = *_sides(left, right), _COMPARISONS[comparison]
            return lambda values: compare(first(values), second(values))
        case In(operand, members):
            return _is_in(operand, members)
        case Contains(operand, substr, folded):
            return _contains(_text(operand), _text(substr), folded=folded)
        case _:
            found = _value(node)
            return lambda values: found(values) is True


def _value(node: Operand) -> Getter:
    match node:
        case Literal(scalar):
            bent = _bent(scalar)
            return lambda _values: bent
        case Get(_, access) if access.field.kind is Kind.TIME:
            micros = _stored(access)
            return lambda values: None if (found := micros(values)) is None else found / times.SECOND
        case Get(_, access):
            return _stored(access)
        case Convert(operand, Target.STRING):
            return _text(operand)
        case Convert(operand, to):
            inner, convert = _value(operand), _CONVERSIONS[to]
            return lambda values: convert(inner(values))
        case _:
            return compile_test(node)


def _stored(access: Access) -> Getter:
    """What lies at a field, or at the end of a path into JSON; times are microseconds."""
    path, steps = access.field.path, [unescape_key(step) for step in access.steps]
    if access.field.text_path:
        name = access.field.text_path.rpartition(".")[2]
        return lambda values: _bent(paths.follow(values.decoded(name), steps))
    if steps:
        return lambda values: _bent(paths.follow(values.field(path), steps))
    return lambda values: _bent(values.field(path))


def _bent(value: Value) -> Value:
    """An integer beyond 64 bits is a double, as it is in the mirror; infinite beyond a double's range."""
    if not isinstance(value, int) or -_INT64 <= value < _INT64:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _sides(left: Operand, right: Operand) -> tuple[Getter, Getter]:
    """Two operands; a time beside a literal is whole microseconds, and so is the literal."""
    if isinstance(left, Get) and left.access.field.kind is Kind.TIME and isinstance(right, Literal):
        micros = _bent(time_literal(right.value, left.name))
        return _stored(left.access), lambda _values: micros
    if isinstance(right, Get) and right.access.field.kind is Kind.TIME and isinstance(left, Literal):
        second, first = _sides(right, left)
        return first, second
    return _value(left), _value(right)


def _is_in(operand: Operand, members: tuple[Operand, ...]) -> Test:
    """That a member is equal; literals, of which there may be very many, are looked up together."""
    is_time = isinstance(operand, Get) and operand.access.field.kind is Kind.TIME
    literals = [member.value for member in members if isinstance(member, Literal)]
    keys = {_key(_bent(time_literal(value, operand.name)) if is_time else _bent(value)) for value in literals}  # type: ignore[union-attr] # is_time says that it is a Get
    found = _stored(operand.access) if isinstance(operand, Get) and is_time else _value(operand)
    others = [compile_test(Compare(Comparison.EQ, operand, each)) for each in members if not isinstance(each, Literal)]
    return lambda values: _key(found(values)) in keys or any(test(values) for test in others)


def _key(value: Value) -> tuple[str, Value]:
    """What is the same for two values just where they are equal; a list or an object equals no literal."""
    if isinstance(value, dict | list):
        return "nested", None
    return "number" if _is_number(value) else type(value).__name__, value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(left: Value, right: Value) -> bool:
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    if type(left) is not type(right):
        return False
    if isinstance(left, dict | list):
        return _are_equal(to_bson(left), to_bson(right))
    return bool(left == right)


def _are_equal(left: Value, right: Value) -> bool:
    """Whether two mirrors, which nest at most 100 levels, are equal; members of objects have an order, too."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_are_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return [*left] == [*right] and all(map(_are_equal, left.values(), right.values()))
    return (type(left) is type(right) or (_is_number(left) and _is_number(right))) and bool(left == right)


def _ordered(is_so: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    def compare(left: Value, right: Value) -> bool:
        comparable = (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))
        return comparable and is_so(left, right)

    return compare


_COMPARISONS: Final[dict[Comparison, Callable[[Value, Value], bool]]] = {
    Comparison.EQ: _equal,
    Comparison.GT: _ordered(operator.gt),
    Comparison.GTE: _ordered(operator.ge),
    Comparison.LT: _ordered(operator.lt),
    Comparison.LTE: _ordered(operator.le),
    Comparison.STARTS_WITH: lambda left, right: (
        isinstance(left, str) and isinstance(right, str) and left.startswith(right)
    ),
}


def _contains(where: Getter, what: Getter, *, folded: bool) -> Test:
    def holds(values: Values) -> bool:
        text, part = where(values), what(values)
        if text is None or part is None:
            return False
        return _fold(part) in values.folded(text) if folded else part in text

    return holds


class _Folded(dict[int, int]):
    """Characters by simple case folding: each to one, so that ß does not meet ss, nor İ any i."""

    def __missing__(self, point: int) -> int:
        character = chr(point)
        folded = next((low for low in (character.casefold(), character.lower()) if len(low) == 1), character)
        self[point] = found = ord(folded)
        return found


_FOLDED: Final = _Folded()


def _fold(text: str) -> str:
    if len(text) <= _PIECE:
        return text.translate(_FOLDED)
    return "".join(text[at : at + _PIECE].translate(_FOLDED) for at in range(0, len(text), _PIECE))


def _text(node: Operand) -> Getter:
    """The text of a value: a string's own, a number's or boolean's, the JSON of a list or object; null for null."""
    value = _value(node)
    match node:
        case Get(_, access) if access.field.kind is Kind.TIME:
            micros = _stored(access)
            return lambda values: None if (found := micros(values)) is None else times.to_text(found)
        case Get(_, access) if access.field.kind is Kind.JSON:
            name = (access.field.text_path or "").rpartition(".")[2]

            def of_json(values: Values) -> str | None:
                found = value(values)
                if not isinstance(found, dict | list):
                    return _of_scalar(found)
                return values.part_text(name, access.steps, found) if name else codec.encode(found)

            return of_json
        case _:
            return lambda values: _of_scalar(value(values))


def _of_scalar(value: Value) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_text(value) if _is_number(value) else None


def number_text(number: float) -> str:
    """A number as JavaScript writes it, but integers always in full."""
    if isinstance(number, int):
        return str(number)
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    shortest = Decimal(repr(number or 0.0)).normalize()
    if number == 0 or _FIXED[0] <= abs(number) < _FIXED[1]:
        return f"{shortest:f}"
    first, *rest = map(str, shortest.as_tuple().digits)
    fraction = f".{''.join(rest)}" if rest else ""
    return f"{'-' if number < 0 else ''}{first}{fraction}e{shortest.adjusted():+d}"


def _double(value: Value) -> Value:
    if isinstance(value, str) and _DOUBLE.fullmatch(value):
        number = float(value)
        # MongoDB takes neither what is too large for a double nor what is too small.
        underflows = abs(number) < sys.float_info.min and Decimal(value) != 0
        return None if math.isinf(number) or underflows else number
    return float(value) if _is_number(value) else None


def _int(value: Value) -> Value:
    if isinstance(value, str):
        value = int(value) if _INTEGER.fullmatch(value) and len(value) <= _MOST_DIGITS else None
    if not _is_number(value) or not -_INT64 <= value < _INT64 or value != int(value):
        return None
    return int(value)


def _bool(value: Value) -> Value:
    if isinstance(value, bool):
        return value
    if _is_number(value):
        return value != 0
    return {"true": True, "false": False}.get(value) if isinstance(value, str) else None


_CONVERSIONS: Final[dict[Target, Callable[[Value], Value]]] = {
    Target.DOUBLE: _double,
    Target.INT: _int,
    Target.BOOL: _bool,
    Target.EXISTS: lambda value: value is not None,
}
