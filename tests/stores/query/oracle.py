"""The definition of queries and sorts in plain Python over decoded JSON; the compiled ones must agree with it.

A row is a call as a dict: its plain columns (times in microseconds) and its decoded JSON. A row lacks the keys
of null values.
"""

import json
import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from stores import times
from stores.json import codec, paths
from stores.query.parser import COMPARISONS, Get, Literal, Operand, Operation, Operator
from stores.query.sort import SortBy

Row = dict[str, Any]
Value = Any
"""A decoded JSON value; None if it is missing."""

TIMES: Final = ("started_at", "ended_at", "deleted_at")
PAYLOADS: Final = ("inputs", "output", "attributes", "summary")
NESTED: Final = (*PAYLOADS, "input_refs", "output_refs")
ALIASES: Final = {
    "startedAt": "started_at",
    "opName": "op_name",
    "wbRunStep": "wb_run_step",
    "summary.weave.status": "status",
    "summary.weave.latency_ms": "latency_ms",
    "summary.weave.latencyMs": "latency_ms",
    "summary.weave.trace_name": "trace_name",
}

_DECODER: Final = json.JSONDecoder()
_INT64: Final = 1 << 63
_NUMERIC: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGRAL: Final = re.compile(r"[+-]?\d+", re.ASCII)
_ORDER: Final[dict[Operator, Callable[[Value, Value], bool]]] = {
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
}


def holds(node: Operand, row: Row) -> bool:
    """Return True if the row matches the query; an operand matches if it is the boolean true."""
    match node:
        case Operation(Operator.AND, terms):
            return all(holds(term, row) for term in terms)
        case Operation(Operator.OR, terms):
            return any(holds(term, row) for term in terms)
        case Operation(Operator.NOT, (term,)):
            return not holds(term, row)
        case Operation(Operator.EQ, (Get("op_name" | "opName"), Literal(str() as name))):
            return is_op(name, row["op_name"])
        case Operation(Operator.EQ, (Literal(str() as name), Get("op_name" | "opName"))):
            return is_op(name, row["op_name"])
        case Operation(comparison, (left, right)) if comparison in COMPARISONS:
            return _compare(comparison, *_sides(left, right, row))
        case Operation(Operator.IN, (operand, *members)):
            return any(holds(Operation(Operator.EQ, (operand, member)), row) for member in members)
        case Operation(Operator.CONTAINS, (operand, substr), folded):
            text, part = _text(operand, row), _text(substr, row)
            if text is None or part is None:
                return False
            return folded_text(part) in folded_text(text) if folded else part in text
        case _:
            return _value(node, row) is True


def in_order(rows: Sequence[Row], sort_by: Sequence[SortBy]) -> list[Row]:
    """Return the rows in order: a stable sort for each key, from the last to the first; ties by id as the last key."""
    found = sorted(rows, key=lambda row: row["id"], reverse=any(key.descending for key in sort_by[-1:]))
    for key in reversed(sort_by):
        ranks: list[list[tuple[Value, Row]]] = [[], [], [], []]
        for row in found:
            value = stored(key.field, row)
            ranks[_rank(value)].append((value, row))
        for ordered in ranks[:2]:
            ordered.sort(key=operator.itemgetter(0), reverse=key.descending)
        found = [row for rank in ranks for _, row in rank]
    return found


def _rank(value: Value) -> int:
    return 0 if _is_number(value) else 1 if isinstance(value, str) else 2 if value is not None else 3


def _value(node: Operand, row: Row) -> Value:
    match node:
        case Literal(scalar):
            return _bent(scalar)
        case Get(name):
            found = stored(name, row)
            return float(found) / 1e6 if _is_time(name) and found is not None else found
        case Operation(Operator.STRING, (operand,)):
            return _text(operand, row)
        case Operation(to, (operand,)) if to in _CONVERSIONS:
            return _CONVERSIONS[to](_value(operand, row))
        case _:
            return holds(node, row)


def stored(name: str, row: Row) -> Value:
    """Return the value of a field or at the end of a path into JSON; times are microseconds."""
    name = ALIASES.get(name, name)
    root, _, path = name.partition(".")
    return _bent(paths.follow(row.get(root), paths.split(path)))


def _is_time(name: str) -> bool:
    return ALIASES.get(name, name) in TIMES


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bent(value: Value) -> Value:
    """Return an integer beyond 64 bits as a double, which is infinite beyond a double's range."""
    if not isinstance(value, int) or -_INT64 <= value < _INT64:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _sides(left: Operand, right: Operand, row: Row) -> tuple[Value, Value]:
    """Return the values of two operands; a time and the literal that it is compared with are whole microseconds."""
    if isinstance(left, Get) and _is_time(left.name) and isinstance(right, Literal):
        return stored(left.name, row), _micros(right.value)
    if isinstance(right, Get) and _is_time(right.name) and isinstance(left, Literal):
        return _micros(left.value), stored(right.name, row)
    return _value(left, row), _value(right, row)


def _micros(scalar: Value) -> Value:
    if isinstance(scalar, str):
        return times.parse(scalar)
    return round(Fraction(scalar) * 1_000_000) if _is_number(scalar) else scalar


def is_op(name: str, op_name: str) -> bool:
    """Return True if a name, as clients write it, matches the op name of a call in the project acme/chat."""
    plain, is_any = name.removesuffix(":*"), name.endswith(":*")
    if name.startswith("weave:///"):
        return op_name.startswith(f"{plain}:") if is_any else op_name == name
    versions = (f"weave:///acme/chat/op/{plain}:", *([f"{plain}:"] if is_any else ()))
    return op_name == plain or op_name.startswith(versions)


def _compare(comparison: Operator, left: Value, right: Value) -> bool:
    if comparison is Operator.STARTS_WITH:
        return isinstance(left, str) and isinstance(right, str) and left[: len(right)] == right
    if comparison is not Operator.EQ:
        comparable = (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))
        return comparable and _ORDER[comparison](left, right)
    return _equal(left, right)


def _equal(left: Value, right: Value) -> bool:
    """Return True if two values are equal; the order of an object's members matters too."""
    left, right = _bent(left), _bent(right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_equal(*pair) for pair in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(_equal(left[key], right[key]) for key in left)
    return (type(left) is type(right) or (_is_number(left) and _is_number(right))) and bool(left == right)


def _text(node: Operand, row: Row) -> str | None:
    value = _value(node, row)
    if isinstance(node, Get) and _is_time(node.name) and value is not None:
        return times.to_text(stored(node.name, row))
    if isinstance(node, Get) and isinstance(value, dict | list):
        return part_of(*around(node.name, row))
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else number_text(value) if _is_number(value) else None


def around(name: str, row: Row) -> tuple[str, list[str]]:
    """Return the stored JSON text that holds a field's list or object, and the steps that lead to it."""
    root, _, path = name.partition(".")
    return row["json"][root] if root in PAYLOADS else codec.encode(row[root]), paths.split(path)


def part_of(text: str, steps: Sequence[str]) -> str:
    """Return the part of a JSON text to which the steps lead; this parses the text before the part."""
    at = 0
    for step in steps:
        at += 1
        if text[at - 1] == "[":
            for _ in range(int(step)):
                at = _DECODER.raw_decode(text, at)[1] + 1
            continue
        key, at = _DECODER.raw_decode(text, at)
        while key != step:
            key, at = _DECODER.raw_decode(text, _DECODER.raw_decode(text, at + 1)[1] + 1)
        at += 1
    return text[at : _DECODER.raw_decode(text, at)[1]]


def number_text(number: float) -> str:
    """Return the text of a number as JavaScript writes it, but with all digits of integers."""
    if isinstance(number, int):
        return str(number)
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    shortest = Decimal(repr(number or 0.0)).normalize()
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        return f"{shortest:f}"
    first, *rest = map(str, shortest.as_tuple().digits)
    fraction = f".{''.join(rest)}" if rest else ""
    return f"{'-' if number < 0 else ''}{first}{fraction}e{shortest.adjusted():+d}"


def folded_text(text: str) -> str:
    """Return a text by simple case folding, which maps one character to one: ß does not match ss, nor İ any i."""
    return "".join(next((low for low in (each.casefold(), each.lower()) if len(low) == 1), each) for each in text)


def double_of(value: Value) -> Value:
    if isinstance(value, str) and _NUMERIC.fullmatch(value):
        number = float(value)
        underflows = abs(number) < sys.float_info.min and Decimal(value) != 0
        return None if math.isinf(number) or underflows else number
    return float(value) if _is_number(value) else None


def int_of(value: Value) -> Value:
    if isinstance(value, str) and _INTEGRAL.fullmatch(value):
        value = int(value)
    if not _is_number(value) or not -_INT64 <= value < _INT64 or value != int(value):
        return None
    return int(value)


def _bool(value: Value) -> Value:
    return (
        value != 0
        if _is_number(value)
        else {"true": True, "false": False}.get(value)
        if isinstance(value, str)
        else value
        if isinstance(value, bool)
        else None
    )


_CONVERSIONS: Final[dict[Operator, Callable[[Value], Value]]] = {
    Operator.DOUBLE: double_of,
    Operator.INT: int_of,
    Operator.BOOL: _bool,
    Operator.EXISTS: lambda value: value is not None,
}
