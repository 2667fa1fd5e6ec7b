"""Evaluation of a query in Python, for one document that is already loaded.

The result equals that of the compiled match (`match_compiler`); tests compare the two. The document has the stored form
without BSON copies: JSON is decoded from its exact text, once per document.
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
from stores.json.bson_copy import INT64, to_bson, unescape_key
from stores.json.incremental import loads_incrementally
from stores.query.fields import Access, Kind
from stores.query.parser import COMPARISONS, Get, Literal, Operand, Operation, Operator, is_time, time_literal

Value = Any
"""A decoded JSON value; None if it is missing."""

LARGE_JSON_BYTES: Final = 256 * 1024
"""Bytes of JSON that may be decoded on the event loop; larger texts need a thread."""

_FOLD_CHUNK: Final = 64 * 1024
"""Characters case-folded at a time, so that other threads can run in between."""
_DOUBLE: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_MAX_DIGITS: Final = 400
"""Digits of a text that may be a 64-bit integer with leading zeros; Python parses very long integers slowly."""
_FIXED_NOTATION_RANGE: Final = (1e-6, 1e21)


class DocumentValues:
    """The values of one document's fields, decoded lazily and cached.

    Use a thread for documents with more than `LARGE_JSON_BYTES` of JSON: decoding then yields to other threads.
    """

    __slots__ = ("_decoded", "_document", "_folded", "_part_texts")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._decoded: dict[str, Value] = {}
        self._folded: dict[str, str] = {}
        self._part_texts: dict[tuple[str, ...], str] = {}

    def field(self, path: str) -> Value:
        """Return the value stored at a path without dots, or None."""
        return self._document.get(path)

    def text(self, name: str) -> str | None:
        """Return the exact text of a JSON field, or None."""
        text: str | None = self._document.get("json", {}).get(name)
        return text

    def decoded(self, name: str) -> Value:
        """Return the decoded value of a JSON field, or None."""
        if name not in self._decoded:
            text = self.text(name)
            encoded = b"null" if text is None else text.encode()
            is_large = len(encoded) > LARGE_JSON_BYTES
            self._decoded[name] = loads_incrementally(encoded) if is_large else codec.loads(encoded)
        return self._decoded[name]

    def part_text(self, name: str, steps: Sequence[str], part: Value) -> str | None:
        """Return the text of a list or object inside a JSON field exactly as the field's text has it; cached."""
        if not steps:
            return self.text(name)
        key = (name, *steps)
        if key not in self._part_texts:
            self._part_texts[key] = codec.encode_part(part, self.decoded(name))
        return self._part_texts[key]

    def folded(self, text: str) -> str:
        """Return one of the document's texts with its case folded; cached."""
        if text not in self._folded:
            self._folded[text] = fold(text)
        return self._folded[text]


Getter = Callable[[DocumentValues], Value]
Test = Callable[[DocumentValues], bool]


def compile_test(node: Operand) -> Test:
    """Compile a node into a predicate over a document's values; an operand is true only if its value is `true`."""
    match node:
        case Operation(Operator.AND | Operator.OR as operator, terms):
            tests, join = [compile_test(term) for term in terms], all if operator is Operator.AND else any
            return lambda values: join(test(values) for test in tests)
        case Operation(Operator.NOT, (term,)):
            positive = compile_test(term)
            return lambda values: not positive(values)
        case Operation(Operator.IN, (operand, *members)):
            return _is_in(operand, members)
        case Operation(Operator.CONTAINS, (operand, substr), folded):
            return _contains(_text(operand), _text(substr), folded=folded)
        case Operation(operator, (left, right)) if operator in COMPARISONS:
            first, second, compare = _side(left, right), _side(right, left), _COMPARISONS[operator]
            return lambda values: compare(first(values), second(values))
        case _:
            getter = _value(node)
            return lambda values: getter(values) is True


def _value(node: Operand) -> Getter:
    match node:
        case Literal(scalar):
            bson_value = _as_bson(scalar)
            return lambda _values: bson_value
        case Get(_, access) if access.field.kind is Kind.TIME:
            micros = _stored_value(access)
            return lambda values: None if (stored := micros(values)) is None else stored / times.SECOND
        case Get(_, access):
            return _stored_value(access)
        case Operation(Operator.STRING, (operand,)):
            return _text(operand)
        case Operation(operator, (operand,)) if operator in _CONVERSIONS:
            inner, convert = _value(operand), _CONVERSIONS[operator]
            return lambda values: convert(inner(values))
        case _:
            return compile_test(node)


def _stored_value(access: Access) -> Getter:
    """Return a getter of the stored value at a field or a path into JSON; times are in microseconds."""
    path, keys = access.field.path, [unescape_key(key) for key in access.steps]
    if access.field.text_path:
        name = access.field.text_path.rpartition(".")[2]
        return lambda values: _as_bson(paths.follow(values.decoded(name), keys))
    if keys:
        return lambda values: _as_bson(paths.follow(values.field(path), keys))
    return lambda values: _as_bson(values.field(path))


def _as_bson(value: Value) -> Value:
    """Return integers beyond 64 bits as doubles, as the BSON copy stores them; infinite beyond a double's range."""
    return to_bson(value) if isinstance(value, int) else value


def _side(node: Operand, other: Operand) -> Getter:
    """Return a getter of one side of a comparison; a time and a literal compare in whole microseconds."""
    if isinstance(node, Literal):
        constant = _constant(node, other)
        return lambda _values: constant
    return _stored_value(node.access) if is_time(node) and isinstance(other, Literal) else _value(node)


def _constant(literal: Literal, other: Operand) -> Value:
    return _as_bson(time_literal(literal.value, other.name) if is_time(other) else literal.value)


def _is_in(operand: Operand, members: Sequence[Operand]) -> Test:
    """Test for an equal member; the literals, which may be thousands, share one set lookup."""
    getter = _stored_value(operand.access) if is_time(operand) else _value(operand)
    keys = {_equality_key(_constant(each, operand)) for each in members if isinstance(each, Literal)}
    others = [each for each in members if not isinstance(each, Literal)]
    tests = [compile_test(Operation(Operator.EQ, (operand, each))) for each in others]
    return lambda values: _equality_key(getter(values)) in keys or any(test(values) for test in tests)


def _equality_key(value: Value) -> tuple[str, Value]:
    """Return a hash key that is equal for equal values; lists and objects share one, as they equal no literal."""
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
        return _bson_equal(to_bson(left), to_bson(right))
    return bool(left == right)


def _bson_equal(left: Value, right: Value) -> bool:
    """Compare two BSON copies, which nest at most 100 levels; the order of object members counts."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_bson_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return [*left] == [*right] and all(map(_bson_equal, left.values(), right.values()))
    return (type(left) is type(right) or (_is_number(left) and _is_number(right))) and bool(left == right)


def _ordered(compare_ordered: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    def compare(left: Value, right: Value) -> bool:
        comparable = (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))
        return comparable and compare_ordered(left, right)

    return compare


_COMPARISONS: Final[dict[Operator, Callable[[Value, Value], bool]]] = {
    Operator.EQ: _equal,
    Operator.GT: _ordered(operator.gt),
    Operator.GTE: _ordered(operator.ge),
    Operator.LT: _ordered(operator.lt),
    Operator.LTE: _ordered(operator.le),
    Operator.STARTS_WITH: lambda left, right: (
        isinstance(left, str) and isinstance(right, str) and left.startswith(right)
    ),
}


def _contains(text_getter: Getter, substr_getter: Getter, *, folded: bool) -> Test:
    def test(values: DocumentValues) -> bool:
        text, substr = text_getter(values), substr_getter(values)
        if text is None or substr is None:
            return False
        return fold(substr) in values.folded(text) if folded else substr in text

    return test


class _CaseFolding(dict[int, int]):
    """Simple case folding, one character to one: ß does not match ss, and İ matches no i."""

    def __missing__(self, point: int) -> int:
        character = chr(point)
        folded = next((low for low in (character.casefold(), character.lower()) if len(low) == 1), character)
        self[point] = result = ord(folded)
        return result


_CASE_FOLDING: Final = _CaseFolding()


def fold(text: str) -> str:
    """Fold the case of a text, as searches that ignore letter case do."""
    if len(text) <= _FOLD_CHUNK:
        return text.translate(_CASE_FOLDING)
    chunks = (text[start : start + _FOLD_CHUNK] for start in range(0, len(text), _FOLD_CHUNK))
    return "".join(chunk.translate(_CASE_FOLDING) for chunk in chunks)


def _text(node: Operand) -> Getter:
    """Return a getter of a value's text: scalars as in `number_text` and JSON, lists and objects as JSON text."""
    value = _value(node)
    match node:
        case Get(_, access) if access.field.kind is Kind.TIME:
            micros = _stored_value(access)
            return lambda values: None if (stored := micros(values)) is None else times.to_text(stored)
        case Get(_, access) if access.field.kind is Kind.JSON:
            name = (access.field.text_path or "").rpartition(".")[2]

            def json_text(values: DocumentValues) -> str | None:
                stored = value(values)
                if not isinstance(stored, dict | list):
                    return _scalar_text(stored)
                return values.part_text(name, access.steps, stored) if name else codec.encode(stored)

            return json_text
        case _:
            return lambda values: _scalar_text(value(values))


def _scalar_text(value: Value) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_text(value) if _is_number(value) else None


def number_text(number: float) -> str:
    """Format a number as JavaScript does, except that integers are always written in full."""
    if isinstance(number, int):
        return str(number)
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    shortest = Decimal(repr(number or 0.0)).normalize()
    if number == 0 or _FIXED_NOTATION_RANGE[0] <= abs(number) < _FIXED_NOTATION_RANGE[1]:
        return f"{shortest:f}"
    first, *rest = map(str, shortest.as_tuple().digits)
    fraction = f".{''.join(rest)}" if rest else ""
    return f"{'-' if number < 0 else ''}{first}{fraction}e{shortest.adjusted():+d}"


def _double(value: Value) -> Value:
    if isinstance(value, str) and _DOUBLE.fullmatch(value):
        number = float(value)
        # MongoDB converts neither overflowing nor subnormal numbers to a double.
        underflows = abs(number) < sys.float_info.min and Decimal(value) != 0
        return None if math.isinf(number) or underflows else number
    return float(value) if _is_number(value) else None


def _int(value: Value) -> Value:
    if isinstance(value, str):
        value = int(value) if _INTEGER.fullmatch(value) and len(value) <= _MAX_DIGITS else None
    if not _is_number(value) or not -INT64 <= value < INT64 or value != int(value):
        return None
    return int(value)


def _bool(value: Value) -> Value:
    if isinstance(value, bool):
        return value
    if _is_number(value):
        return value != 0
    return {"true": True, "false": False}.get(value) if isinstance(value, str) else None


_CONVERSIONS: Final[dict[Operator, Callable[[Value], Value]]] = {
    Operator.DOUBLE: _double,
    Operator.INT: _int,
    Operator.BOOL: _bool,
    Operator.EXISTS: lambda value: value is not None,
}
