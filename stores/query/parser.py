"""Syntax tree and parser of queries: `{"$expr": …}` in JSON, or the same tree with bare operator names.

The two forms differ only in the sigil before a name: `$eq` in JSON, `eq` in the typed form. A query beyond a limit is
refused with an error that names the limit; nothing is truncated.
"""

import difflib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import partial
from typing import ClassVar, Final, TypeGuard

from stores import times
from stores.errors import BadInputError, ErrorsAt, StoreError
from stores.input_checks import check_length
from stores.json import AnyJson
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.text_expressions import MAX_FOLDED_LENGTH
from stores.refs import check_external


class Operator(StrEnum):
    """Operators by their names in queries."""

    AND = "and"
    OR = "or"
    NOT = "not"

    EQ = "eq"
    """Equality within one type, as all comparisons; lists and objects are equal if their members are, in order."""
    GT = "gt"
    """Order, like the three below: between numbers or between strings only."""
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    STARTS_WITH = "startsWith"
    """Prefix test: true only between strings."""

    IN = "in"
    """Membership: true if the first operand equals one of the others."""
    CONTAINS = "contains"
    """Substring test: true if the text of the first operand contains the text of the second."""

    DOUBLE = "double"
    """Conversion of one operand, like those below; null if the value cannot be converted."""
    STRING = "string"
    INT = "int"
    BOOL = "bool"
    EXISTS = "exists"


JUNCTIONS: Final = (Operator.AND, Operator.OR, Operator.NOT)
COMPARISONS: Final = (Operator.EQ, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE, Operator.STARTS_WITH)
TARGETS: Final = (Operator.DOUBLE, Operator.STRING, Operator.INT, Operator.BOOL, Operator.EXISTS)
"""Conversions, named after the type of their result."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant from the query; never interpreted as an operator or a path."""

    operator: ClassVar[None] = None
    operands: ClassVar[tuple[()]] = ()
    value: Scalar


@dataclass(frozen=True, slots=True)
class Get:
    """The value of a field; `name` is the name that the client used."""

    operator: ClassVar[None] = None
    operands: ClassVar[tuple[()]] = ()
    name: str
    access: Access


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator with its operands; `case_insensitive` is only for `CONTAINS`."""

    operator: Operator
    operands: tuple["Operand", ...]
    case_insensitive: bool = False


Operand = Operation | Literal | Get


def is_time(node: Operand) -> TypeGuard[Get]:
    """Return True for a time field; it compares with a literal in microseconds, with other operands in seconds."""
    return isinstance(node, Get) and node.access.field.kind is Kind.TIME


def iter_gets(node: Operand) -> Iterator[Get]:
    """Yield every field access below the node, once per occurrence."""
    if isinstance(node, Get):
        yield node
    for operand in node.operands:
        yield from iter_gets(operand)


def iter_text_gets(node: Operand) -> Iterator[Get]:
    """Yield every field access whose text the node needs: for `$contains` or a conversion to string."""
    if node.operator in (Operator.CONTAINS, Operator.STRING):
        yield from (operand for operand in node.operands if isinstance(operand, Get))
    for operand in node.operands:
        yield from iter_text_gets(operand)


def map_operands(node: Operand, change: Callable[[Operand], Operand]) -> Operand:
    """Copy a node with `change` applied to each operand; return a field or literal unchanged."""
    return replace(node, operands=tuple(map(change, node.operands))) if isinstance(node, Operation) else node


MAX_NODES: Final = 10_000
MAX_FIELD_ACCESSES: Final = 2_000
"""Fields that MongoDB plans in one or two seconds with a cold cache; literals, such as `$in` members, cost nothing."""

MAX_TOTAL_PATH_KEYS: Final = 5_000
"""Keys in the paths of all fields together: these compile in about 0.1 seconds; 45,000 took MongoDB a minute."""

MAX_DEPTH: Final = 32
MAX_LITERAL_LENGTH: Final = 100_000
SIGIL: Final = "$"

_KIND_NAMES: Final = {Kind.TEXT: "texts", Kind.NUMBER: "numbers", Kind.TIME: "times"}
_KIND_SYNTAX: Final = {
    None: "true or false",
    Kind.TEXT: "a text in quotes",
    Kind.NUMBER: "a number without quotes",
    Kind.TIME: "an ISO 8601 time or unix seconds",
}
_CHARACTERS: Final = {Kind.NUMBER: frozenset("-+.e0123456789"), Kind.TIME: frozenset("-:.tz0123456789")}
"""All characters that occur in the texts of numbers and times, in lower case."""

_RESULT_KINDS: Final = {Operator.STRING: Kind.TEXT, Operator.DOUBLE: Kind.NUMBER, Operator.INT: Kind.NUMBER}
"""Kind of an operation's result; all others give a boolean."""


def parse_query(query: AnyJson, table: FieldTable, argument: str = "query") -> Operation:
    """Parse a query in its JSON form, `{"$expr": {"$gt": […]}}`.

    Raises:
        BadInputError: if it is not a query over the table's fields; the error's argument is the JSON path.
    """
    if not isinstance(query, dict) or list(query) != ["$expr"]:
        raise BadInputError('must be an object with the one key $expr, as in {"$expr": {"$eq": […]}}', argument)
    return parse_operation(query["$expr"], table, f"{argument}.$expr", SIGIL)


def parse_operation(tree: AnyJson, table: FieldTable, argument: str, sigil: str = "") -> Operation:
    """Parse an operation such as `{"eq": [{"getField": "op_name"}, {"literal": "f"}]}`.

    Raises:
        BadInputError: if it is not an operation over the table's fields; the error's argument is the JSON path.
    """
    with ErrorsAt(argument):
        return _Parser(table, sigil).operation(tree)


@dataclass(slots=True)
class _Parser:
    """Recursive-descent parser; errors collect their path while they propagate."""

    table: FieldTable
    sigil: str
    nodes: int = 0
    fields: int = 0
    steps: int = 0

    def operation(self, tree: AnyJson) -> Operation:
        operand = self.operand(tree, 1)
        if list(tree) == [f"{self.sigil}convert"]:
            self._check_condition(operand)
        if not isinstance(operand, Operation):
            raise BadInputError(f"must be one of {self._names(_OPERATIONS)}")
        return operand

    def operand(self, tree: AnyJson, depth: int) -> Operand:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise BadInputError(f"the query has more than {MAX_NODES:,} operations, fields and literals")
        if depth > MAX_DEPTH:
            raise BadInputError(f"the query nests deeper than {MAX_DEPTH} levels")
        if not isinstance(tree, dict) or len(tree) != 1:
            raise BadInputError(f"must be an object with one key, out of {self._names(_READERS)}")
        [(name, inner)] = tree.items()
        reader = _READERS.get(name.removeprefix(self.sigil)) if name.startswith(self.sigil) else None
        if reader is None:
            raise BadInputError(f"there is no operation {name[:100]!r}; {self._suggest(name)}")
        try:  # a context manager for each node would take a third of the time of parsing
            return reader(self, inner, depth + 1)
        except StoreError as error:
            raise error.prefixed(name) from None

    def operands(self, trees: AnyJson, depth: int, count: int | None = None) -> tuple[Operand, ...]:
        if not isinstance(trees, list) or not trees or (count and len(trees) != count):
            expected = "one operand" if count == 1 else f"{count or 'one or more'} operands"
            raise BadInputError(f"must be a list of {expected}")
        return tuple([self._member(tree, str(position), depth) for position, tree in enumerate(trees)])

    def _member(self, tree: AnyJson, at: str, depth: int) -> Operand:
        """Parse an operand at a key or position of its operation; errors name that key."""
        try:
            return self.operand(tree, depth)
        except StoreError as error:
            raise error.prefixed(at) from None

    def junction(self, trees: AnyJson, depth: int, operator: Operator) -> Operation:
        """Parse `$and`, `$or` or `$not`; refuse operands that are never true."""
        operands = self.operands(trees, depth, 1 if operator is Operator.NOT else None)
        for position, operand in enumerate(operands):
            self._check_condition(operand, f"{position}.")
        return Operation(operator, operands)

    def _check_condition(self, node: Operand, at: str = "") -> None:
        match node:
            case Operation(operator) if operator in _RESULT_KINDS:
                problem = f"a {operator} is never a condition; compare it, or convert to bool or exists"
                raise BadInputError(problem, f"{at}{self.sigil}convert.to")
            case Literal(scalar) if not isinstance(scalar, bool):
                raise BadInputError(
                    "is not a condition; write a condition, or true or false", f"{at}{self.sigil}literal"
                )
            case Get(name, access) if access.field.kind is not Kind.JSON:
                raise BadInputError(f"{name} is not a condition; compare it with a value", f"{at}{self.sigil}getField")

    def comparison(self, trees: AnyJson, depth: int, operator: Operator) -> Operation:
        left, right = self.operands(trees, depth, 2)
        for position, operand in enumerate((left, right)):
            if isinstance(operand, Literal) and not isinstance(operand.value, str):
                if operator is Operator.STARTS_WITH:
                    raise BadInputError("must be a string: startsWith compares strings", str(position))
                if operator is not Operator.EQ and (operand.value is None or isinstance(operand.value, bool)):
                    problem = "has no order; compare with a number or a string, or use isNull or exists"
                    raise BadInputError(problem, str(position))
        left, right = _normalized(left, right, "0", operator), _normalized(right, left, "1", operator)
        return Operation(operator, (left, right))

    def membership(self, tree: AnyJson, depth: int) -> Operation:
        match tree:
            case [operand_tree, list(member_trees)]:
                pass
            case _:
                raise BadInputError("must be a list of an operand and a list of operands")
        first, second = ("0", "1") if self.sigil else ("input", "values")
        operand = self._member(operand_tree, first, depth)
        with ErrorsAt(second):
            members = self.operands(member_trees, depth) if member_trees else ()
            normalized = [_normalized(each, operand, str(position)) for position, each in enumerate(members)]
        if not isinstance(operand, Literal):
            return Operation(Operator.IN, (operand, *normalized))
        # Fields may normalize the literal differently; those that change it are compared separately.
        normalized_pairs = [(member, _normalized(operand, member, first)) for member in members]
        others = [Operation(Operator.EQ, pair) for pair in normalized_pairs if pair[1] != operand]
        same = Operation(
            Operator.IN, (operand, *(member for member, literal in normalized_pairs if literal == operand))
        )
        return Operation(Operator.OR, (same, *others)) if others else same

    def contains(self, tree: AnyJson, depth: int) -> Operation:
        members = _checked_members(tree, ("input", "substr"), ("case_insensitive",))
        folded = members.get("case_insensitive")
        if folded is None:
            folded = False
        if not isinstance(folded, bool):
            raise BadInputError("must be true or false", "case_insensitive")
        haystack, needle = (self._member(members[name], name, depth) for name in ("input", "substr"))
        with ErrorsAt("substr"):
            if isinstance(needle, Literal) and not isinstance(needle.value, str):
                raise BadInputError("must be a string, the text to look for")
            if folded and not isinstance(needle, Literal):
                raise BadInputError("must be a literal if letter case is ignored")
            if folded and isinstance(needle, Literal) and len(str(needle.value)) > MAX_FOLDED_LENGTH:
                limit = f"{MAX_FOLDED_LENGTH:,} characters, the limit if letter case is ignored"
                raise BadInputError(f"has more than {limit}")
            if isinstance(haystack, Get) and isinstance(needle, Literal):
                needle = Literal(_normalized_substring(str(needle.value), haystack.name, haystack.access.field))
        return Operation(Operator.CONTAINS, (haystack, needle), folded)

    def literal(self, value: AnyJson, _depth: int) -> Literal:
        match value:
            case str():
                check_length(value, MAX_LITERAL_LENGTH)
                check_external(value)
            case float() if not math.isfinite(value):
                raise BadInputError("a number must be finite")
            case dict() | list():
                raise BadInputError("a literal is a string, a number, a boolean or null, not a list or an object")
        return Literal(value)

    def get_field(self, name: AnyJson, _depth: int) -> Get:
        if not isinstance(name, str):
            raise BadInputError("must be the name of a field, such as started_at or inputs.question")
        self.fields += 1
        if self.fields > MAX_FIELD_ACCESSES:
            raise BadInputError(f"the query names fields more than {MAX_FIELD_ACCESSES:,} times; name fewer")
        access = self.table[name]
        self.steps += len(access.steps)
        if self.steps > MAX_TOTAL_PATH_KEYS:
            raise BadInputError(f"the paths of the query's fields have more than {MAX_TOTAL_PATH_KEYS:,} keys")
        return Get(name, access)

    def convert(self, tree: AnyJson, depth: int) -> Operation | Get:
        members = _checked_members(tree, ("input", "to"))
        if members["to"] not in TARGETS:
            raise BadInputError(f"must be one of {', '.join(TARGETS)}", "to")
        operand, to = self._member(members["input"], "input", depth), Operator(members["to"])
        if to is Operator.STRING and isinstance(operand, Get) and operand.access.is_text:
            # Kept as a plain field, so that field-specific rules, such as those for op names, still apply.
            return operand
        return Operation(to, (operand,))

    def _names(self, names: Iterable[str]) -> str:
        return ", ".join(self.sigil + name for name in names)

    def _suggest(self, name: str) -> str:
        similar = difflib.get_close_matches(name[:100], [self.sigil + operator for operator in _READERS], 2)
        return f"did you mean {' or '.join(similar)}?" if similar else f"the operations are {self._names(_READERS)}"


def _checked_members(tree: AnyJson, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, AnyJson]:
    """Return an operation's members by name; refuse missing and unknown ones."""
    if not isinstance(tree, dict):
        raise BadInputError(f"must be an object with {' and '.join(needed)}")
    for name in needed:
        if name not in tree:
            raise BadInputError(f"{name} is missing")
    for name in tree:
        if name not in (*needed, *optional):
            raise BadInputError(f"unknown key {name[:100]!r}; the keys are {', '.join((*needed, *optional))}")
    return tree


_READERS: Final[dict[str, Callable[[_Parser, AnyJson, int], Operand]]] = {
    **{each.value: partial(_Parser.junction, operator=each) for each in JUNCTIONS},
    **{each.value: partial(_Parser.comparison, operator=each) for each in COMPARISONS},
    "ne": lambda parser, tree, depth: Operation(Operator.NOT, (parser.comparison(tree, depth, Operator.EQ),)),
    "isNull": lambda parser, tree, depth: Operation(Operator.EQ, (parser.operand(tree, depth), Literal(None))),
    "exists": lambda parser, tree, depth: Operation(Operator.EXISTS, (parser.operand(tree, depth),)),
    "in": _Parser.membership,
    "contains": _Parser.contains,
    "literal": _Parser.literal,
    "getField": _Parser.get_field,
    "convert": _Parser.convert,
}
_OPERATIONS: Final = tuple(name for name in _READERS if name not in ("literal", "getField"))


def _normalized(operand: Operand, other: Operand, argument: str, operator: Operator = Operator.EQ) -> Operand:
    """Normalize a literal to the form stored by the field it is compared with; return other operands unchanged.

    Raises:
        BadInputError: if the two are never equal, or never have an order.
    """
    with ErrorsAt(argument):
        if isinstance(operand, Literal):
            if isinstance(other, Get):
                return Literal(_normalized_literal(operand.value, other, operator))
            if isinstance(other, Operation):
                _check_result_literal(operand.value, other.operator)
        if not isinstance(other, Literal):  # otherwise the call for the literal's side checks both operands
            _check_comparable(operator, other, operand)
    return operand


def _normalized_literal(scalar: Scalar, get: Get, operator: Operator) -> Scalar:
    """Convert a literal to the stored form of the field's values; null and literals compared with JSON stay unchanged.

    Raises:
        BadInputError: if the field never holds a value of the literal's type, or if its `values` exclude the literal.
    """
    name, field = get.name, get.access.field
    is_prefix = operator is Operator.STARTS_WITH
    if scalar is not None and field.comparison_hint and not get.access.steps:
        raise BadInputError(f"{name} is a list or an object, never {_json(scalar)}; {field.comparison_hint}")
    if field.kind is Kind.JSON or scalar is None:
        return scalar
    held = f"{name} holds {_KIND_NAMES[field.kind]}"
    if is_prefix and field.kind is not Kind.TEXT:
        raise BadInputError(f"{held}, not texts; convert it to string before startsWith")
    if field.kind is Kind.TIME and isinstance(scalar, str):
        time_literal(scalar, name)
        return scalar
    if not _is_of_kind(scalar, field.kind):
        raise BadInputError(f"{held}, never {_json(scalar)}; write {_KIND_SYNTAX[field.kind]}")
    seconds = scalar if field.kind is Kind.TIME and isinstance(scalar, int | float) else 0
    if not times.FIRST <= seconds * times.SECOND <= times.LAST:
        hint = "write unix seconds, not milliseconds"
        raise BadInputError(f"{held} of the years 1 to 9999, never {_json(scalar)}; {hint}")
    if not field.values:
        return scalar
    folded = str(scalar).lower()
    # In either direction: the literal may itself start with one of the field's values.
    is_prefix_match = is_prefix and any(
        allowed.startswith(folded) or folded.startswith(allowed) for allowed in field.values
    )
    if not is_prefix_match and folded not in field.values:
        phrase = "never starts with" if is_prefix else "is never"
        raise BadInputError(f"{name} {phrase} {str(scalar)[:100]!r}; it is one of {', '.join(field.values)}")
    return folded


def _normalized_substring(substr: str, name: str, field: Field) -> str:
    """Convert the text of a `$contains` to the stored form of the field's values.

    Raises:
        BadInputError: if no value of the field can contain the text.
    """
    folded = substr.lower()
    characters = _CHARACTERS.get(field.kind)
    if characters and not characters.issuperset(folded):
        raise BadInputError(f"{name} holds {_KIND_NAMES[field.kind]}, which never contain {_json(substr)}")
    if not field.values:
        return substr
    if not any(folded in known for known in field.values):
        raise BadInputError(f"{name} never contains {substr[:100]!r}; it is one of {', '.join(field.values)}")
    return folded


def _check_result_literal(scalar: Scalar, operator: Operator) -> None:
    """Check that a literal compared with an operation is null or of the type of its result.

    Raises:
        BadInputError: if it has another type.
    """
    kind = _RESULT_KINDS.get(operator)
    fits = scalar is None or (isinstance(scalar, bool) if kind is None else _is_of_kind(scalar, kind))
    if not fits:
        origin = f"a conversion to {operator}" if operator in TARGETS else "a condition"
        raise BadInputError(f"{origin} never gives {_json(scalar)}; write {_KIND_SYNTAX[kind]}")


def _check_comparable(operator: Operator, *operands: Operand) -> None:
    """Check that values of two fields or operations can be equal, or can have an order.

    Raises:
        BadInputError: if one is a text, the other a number or a time, and the comparison can never be true.
    """
    are_texts = {kind is Kind.TEXT for kind in map(_kind, operands) if kind}
    has_value = any(isinstance(node, Get) and not node.access.field.optional for node in operands)
    if len(are_texts) > 1 and (has_value or operator is not Operator.EQ):
        raise BadInputError("compares a text with a number or a time, which is never true; convert one of them")


def _kind(node: Operand) -> Kind | None:
    """Return the kind of a field or conversion; None for a boolean or if it may be any."""
    if isinstance(node, Get):
        return node.access.field.kind if node.access.field.kind is not Kind.JSON else None
    return _RESULT_KINDS.get(node.operator) if node.operator else None


def _is_of_kind(scalar: Scalar, kind: Kind) -> bool:
    return isinstance(scalar, str if kind is Kind.TEXT else int | float) and not isinstance(scalar, bool)


def _json(scalar: Scalar) -> str:
    """Format a literal as in a query, cut to 100 characters."""
    return json.dumps(scalar, ensure_ascii=False)[:100]


def time_literal(scalar: Scalar, name: str) -> int | None:
    """Convert a literal that is compared with a time to microseconds: ISO 8601 text, or unix seconds, rounded.

    Booleans and null are returned unchanged.

    Raises:
        BadInputError: if it is a text that is no time.
    """
    if isinstance(scalar, str):
        try:
            return times.parse(scalar)
        except BadInputError as error:
            raise BadInputError(f"{name} is a time: {error.message}, nor is it a number of unix seconds") from None
    if scalar is None or isinstance(scalar, bool):
        return scalar
    return round(Fraction(scalar) * times.SECOND)
