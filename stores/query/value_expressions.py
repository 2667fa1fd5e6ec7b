"""Operands as aggregation expressions, for conditions that match language cannot express.

Every expression evaluates to null, never to a missing value, if there is no value. Literals are wrapped in `$literal`,
so that MongoDB reads nothing in them as an operator or a path. Keys are read one at a time, since a dotted path
descends into arrays.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from stores import times
from stores.errors import BadInputError
from stores.json.bson_copy import to_bson
from stores.query import text_expressions
from stores.query.fields import Access, Field, Kind, is_index
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
    Scalar,
    Target,
)

Expression = Any

NUMERIC: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
"""Strings that the query language converts to a double; MongoDB's `$convert` accepts more."""

_KIND_NAMES: Final = {Kind.TEXT: "texts", Kind.NUMBER: "numbers", Kind.TIME: "times"}
_KIND_SYNTAX: Final = {
    Kind.TEXT: "a text in quotes",
    Kind.NUMBER: "a number without quotes",
    Kind.TIME: "an ISO 8601 time or unix seconds",
}
_CHARACTERS: Final = {Kind.NUMBER: frozenset("-+.e0123456789"), Kind.TIME: frozenset("-:.tz0123456789")}
"""All characters that occur in the texts of numbers and times, in lower case."""

_CONVERTED_KINDS: Final = {Target.STRING: Kind.TEXT, Target.DOUBLE: Kind.NUMBER, Target.INT: Kind.NUMBER}
"""Kind of a conversion's result; all other targets give a boolean."""

_MAX_REQUIRED_TEXTS: Final = 20
"""Alternative texts that are first searched in a payload's whole text, before a part is extracted from it."""

_INTEGRAL: Final = r"^[+-]?[0-9]+$"
_V: Final = "$$v"


def condition_expression(node: Operand) -> Expression:
    """Build the boolean expression of a node; a plain value counts as true only if it is `true`."""
    match node:
        case And(terms):
            return {"$and": [condition_expression(term) for term in terms]}
        case Or(terms):
            return {"$or": [condition_expression(term) for term in terms]}
        case Not(term):
            return {"$not": [condition_expression(term)]}
        case Compare(comparison, left, right):
            return _compare(comparison, left, right)
        case In(operand, members):
            return _is_in(operand, members)
        case Contains(operand, substr, folded):
            return _contains(operand, substr, folded=folded)
        case _:
            return {"$eq": [value_expression(node), True]}


def value_expression(node: Operand) -> Expression:
    """Build the expression of a node's value."""
    match node:
        case Literal(scalar):
            return {"$literal": to_bson(scalar)}
        case Get(_, access):
            return _field(access)
        case Convert(operand, to):
            return _CONVERSIONS[to](operand)
        case _:
            return condition_expression(node)


def _field(access: Access) -> Expression:
    if access.field.kind is Kind.TIME:
        return {"$ifNull": [{"$divide": [f"${access.field.path}", times.SECOND]}, None]}
    return {"$ifNull": [path_expression(access), None]}


def path_expression(access: Access) -> Expression:
    """Build the expression of a field or of a value inside a JSON field; missing if there is no value."""
    result: Expression = f"${access.field.path}"
    parents: list[Expression] = []
    for step in access.steps:
        if not is_index(step):
            result = _member(result, step)
            continue
        parents.append(result)
        result = {"$cond": [{"$isArray": _V}, {"$arrayElemAt": [_V, int(step)]}, _member(_V, step)]}
    # Each `$let` goes into the `in` of the previous one: MongoDB 7 plans `vars` twice, so nesting there doubles the
    # time.
    for parent in reversed(parents):
        result = let_v(parent, result)
    return result


def _member(parent: Expression, key: str) -> Expression:
    return {"$getField": {"field": {"$literal": key}, "input": parent}}


def let_v(value: Expression, body: Expression) -> Expression:
    """Build a `$let` that computes `value` once and binds it to `$$v` in `body`."""
    return {"$let": {"vars": {"v": value}, "in": body}}


def _let_operands(values: dict[str, Expression], body: Expression, *operands: Operand) -> Expression:
    """Bind the operands' values, each computed once, to variables of `body`.

    MongoDB 7 plans the `vars` of a `$let` twice: operations nested in them would double the time at each level, and
    neither maxTimeMS nor killOp stops planning. It plans the `input` of a `$reduce` once, which runs a little slower.
    """
    if not any(map(_is_operation, operands)):
        return {"$let": {"vars": values, "in": body}}
    variables = {name: f"$$this.{name}" for name in values}
    return {"$reduce": {"input": [values], "initialValue": None, "in": {"$let": {"vars": variables, "in": body}}}}


def _is_operation(operand: Operand) -> bool:
    """Return True if an operand is more than a field, a literal or one conversion of either."""
    return not isinstance(operand.operand if isinstance(operand, Convert) else operand, Get | Literal)


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


def normalize_literal(scalar: Scalar, name: str, access: Access, comparison: Comparison) -> Scalar:
    """Convert a literal to the stored form of the field's values; null and literals compared with JSON stay unchanged.

    Raises:
        BadInputError: if the field never holds a value of the literal's type, or if its `values` exclude the literal.
    """
    field = access.field
    if scalar is not None and field.comparison_hint and not access.steps:
        raise BadInputError(f"{name} is a list or an object, never {_json(scalar)}; {field.comparison_hint}")
    if field.kind is Kind.JSON or scalar is None:
        return scalar
    if comparison is Comparison.STARTS_WITH and field.kind is not Kind.TEXT:
        raise BadInputError(
            f"{name} holds {_KIND_NAMES[field.kind]}, not texts; convert it to string before startsWith"
        )
    if field.kind is Kind.TIME and isinstance(scalar, str):
        time_literal(scalar, name)
        return scalar
    if not _is_of_kind(scalar, field.kind):
        raise BadInputError(
            f"{name} holds {_KIND_NAMES[field.kind]}, never {_json(scalar)}; write {_KIND_SYNTAX[field.kind]}"
        )
    if (
        field.kind is Kind.TIME
        and not isinstance(scalar, str)
        and not times.FIRST <= scalar * times.SECOND <= times.LAST
    ):
        raise BadInputError(
            f"{name} holds times of the years 1 to 9999, never {_json(scalar)}; write unix seconds, not milliseconds"
        )
    if not field.values:
        return scalar
    folded = str(scalar).lower()
    is_prefix = comparison is Comparison.STARTS_WITH
    # In either direction: the literal may itself start with one of the field's values.
    is_prefix_match = is_prefix and any(
        allowed.startswith(folded) or folded.startswith(allowed) for allowed in field.values
    )
    if not is_prefix_match and folded not in field.values:
        phrase = "never starts with" if is_prefix else "is never"
        raise BadInputError(f"{name} {phrase} {str(scalar)[:100]!r}; it is one of {', '.join(field.values)}")
    return folded


def normalize_substring(substr: str, name: str, field: Field) -> str:
    """Convert the text of a `$contains` to the stored form of the field's values.

    Raises:
        BadInputError: if no value of the field can contain the text.
    """
    characters = _CHARACTERS.get(field.kind)
    if characters and not characters.issuperset(substr.lower()):
        raise BadInputError(f"{name} holds {_KIND_NAMES[field.kind]}, which never contain {_json(substr)}")
    if not field.values:
        return substr
    folded = substr.lower()
    if not any(folded in known for known in field.values):
        raise BadInputError(f"{name} never contains {substr[:100]!r}; it is one of {', '.join(field.values)}")
    return folded


def check_conversion_literal(scalar: Scalar, to: Target) -> None:
    """Check that a literal compared with a conversion is null or has the conversion's result type.

    Raises:
        BadInputError: if it has another type.
    """
    kind = _CONVERTED_KINDS.get(to)
    fits = isinstance(scalar, bool) if kind is None else _is_of_kind(scalar, kind)
    if scalar is not None and not fits:
        syntax = "true or false" if kind is None else _KIND_SYNTAX[kind]
        raise BadInputError(f"a conversion to {to} never gives {_json(scalar)}; write {syntax}")


def check_condition_literal(scalar: Scalar) -> None:
    """Check that a literal compared with a condition is a boolean or null.

    Raises:
        BadInputError: if it has another type.
    """
    if scalar is not None and not isinstance(scalar, bool):
        raise BadInputError(f"a condition never gives {_json(scalar)}; write true or false")


def check_comparable(comparison: Comparison, left: Operand, right: Operand) -> None:
    """Check that values of two fields or conversions can be equal, or can have an order.

    Raises:
        BadInputError: if one is a text, the other a number or a time, and the comparison can never be true.
    """
    are_texts = {kind is Kind.TEXT for kind in (_kind(left), _kind(right)) if kind}
    has_value = any(isinstance(node, Get) and not node.access.field.optional for node in (left, right))
    if len(are_texts) > 1 and (has_value or comparison is not Comparison.EQ):
        raise BadInputError("compares a text with a number or a time, which is never true; convert one of them")


def _kind(node: Operand) -> Kind | None:
    """Return the kind of a field or conversion; None for a boolean or if it may be any."""
    match node:
        case Get(_, access) if access.field.kind is not Kind.JSON:
            return access.field.kind
        case Convert(_, to):
            return _CONVERTED_KINDS.get(to)
        case _:
            return None


def _is_of_kind(scalar: Scalar, kind: Kind) -> bool:
    return isinstance(scalar, str if kind is Kind.TEXT else int | float) and not isinstance(scalar, bool)


def _json(scalar: Scalar) -> str:
    """Format a literal as in a query, cut to 100 characters."""
    return json.dumps(scalar, ensure_ascii=False)[:100]


def _compare(comparison: Comparison, left: Operand, right: Operand) -> Expression:
    first, second = _sides(left, right)
    if required := required_texts(Compare(comparison, left, right)):
        first = _prefiltered_text(required)
    if comparison is Comparison.EQ:
        return {"$eq": [first, second]}
    if comparison is Comparison.STARTS_WITH:
        starts = {"$cond": [_BOTH_STRINGS, {"$eq": [{"$indexOfBytes": ["$$a", "$$b"]}, 0]}, False]}
        return _let_operands({"a": first, "b": second}, starts, left, right)
    ordered = {f"${comparison.value}": ["$$a", "$$b"]}
    numbers = {"$and": [{"$isNumber": "$$a"}, {"$isNumber": "$$b"}, ordered]}
    strings = {"$and": [_BOTH_STRINGS, ordered]}
    return _let_operands({"a": first, "b": second}, {"$or": [numbers, strings]}, left, right)


def _sides(left: Operand, right: Operand) -> tuple[Expression, Expression]:
    for time, other, is_flipped in ((left, right, False), (right, left, True)):
        if isinstance(time, Get) and isinstance(other, Literal) and _is_time(time, other):
            exact = {"$ifNull": [path_expression(time.access), None]}
            micros = {"$literal": to_bson(time_literal(other.value, time.name))}
            return (micros, exact) if is_flipped else (exact, micros)
    return value_expression(left), value_expression(right)


def _is_in(operand: Operand, members: tuple[Operand, ...]) -> Expression:
    """Test for an equal member. The operand occurs once, since repeating it in nested `$in`s multiplies the size."""
    times_equal, others = [], []
    for member in members:
        if _is_time(operand, member) or _is_time(member, operand):
            times_equal.append(_compare(Comparison.EQ, operand, member))
        else:
            others.append({"$eq": [_V, value_expression(member)]})
    required = required_texts(In(operand, members))
    bound_value = _prefiltered_text(required) if required else value_expression(operand)
    return {"$or": [*times_equal, _let_operands({"v": bound_value}, {"$or": others}, operand)]}


def _is_time(node: Operand, other: Operand) -> bool:
    """Return True if a time field is compared with a literal, which is then read as a time."""
    return isinstance(node, Get) and node.access.field.kind is Kind.TIME and isinstance(other, Literal)


def _is(expression: Expression, name: str) -> Expression:
    return {"$eq": [{"$type": expression}, name]}


_BOTH_STRINGS: Final[Expression] = {"$and": [_is("$$a", "string"), _is("$$b", "string")]}


def _contains(operand: Operand, substr: Operand, *, folded: bool) -> Expression:
    required = required_texts(Contains(operand, substr, folded))
    text = _prefiltered_text(required) if required else _text(operand)
    if folded and isinstance(substr, Literal):
        return _text_contains(text, str(substr.value), folded=True)
    contains = {"$gte": [{"$indexOfBytes": ["$$a", "$$b"]}, 0]}
    return _let_operands({"a": text, "b": _text(substr)}, {"$cond": [_BOTH_STRINGS, contains, False]}, operand, substr)


def list_or_object_contains(access: Access, substr: str, *, folded: bool) -> Expression:
    """Build the condition that a list or object inside a JSON field contains a text; false for other values."""
    nested = list_or_object_text(access)
    if is_inside_payload(access):
        nested = {"$cond": [_text_contains(f"${access.field.text_path}", substr, folded=folded), nested, None]}
    return _text_contains(text_expressions.of_nested(_field(access), nested), substr, folded=folded)


def _text_contains(text: Expression, substr: str, *, folded: bool) -> Expression:
    """Build the condition that a text contains `substr`; false if the text is null."""
    if folded:
        return {"$regexMatch": {"input": text, "regex": text_expressions.escaped(substr), "options": "i"}}
    return {"$gte": [{"$indexOfBytes": [text, {"$literal": substr}]}, 0]}


@dataclass(frozen=True, slots=True)
class RequiredTexts:
    """Texts of which a field's text must contain at least one for a condition to be true."""

    get: Get
    substrings: Sequence[str]
    folded: bool = False

    @property
    def in_payload(self) -> Expression:
        """The condition that the whole payload's text contains one of them, without which the field's text cannot."""
        whole = f"${self.get.access.field.text_path}"
        return {"$or": [_text_contains(whole, each, folded=self.folded) for each in self.substrings]}


def required_texts(node: Operand) -> RequiredTexts | None:
    """Return the texts that a condition requires in a part of a payload; None if there are none or too many."""
    match node:
        case Contains(Get() as get, Literal(str() as substr), folded):
            required = RequiredTexts(get, (substr,), folded)
        case Compare(
            Comparison.EQ | Comparison.STARTS_WITH, Convert(Get() as get, Target.STRING), Literal(str() as substr)
        ):
            required = RequiredTexts(get, (substr,))
        case In(Convert(Get() as get, Target.STRING), members) if len(members) <= _MAX_REQUIRED_TEXTS:
            substrings = [each.value for each in members if isinstance(each, Literal) and isinstance(each.value, str)]
            if len(substrings) < len(members):
                return None
            required = RequiredTexts(get, substrings)
        case _:
            return None
    return required if is_inside_payload(get.access) else None


def is_inside_payload(access: Access) -> bool:
    """Return True if the value lies inside a payload, so that its JSON text is a part of the payload's text."""
    return bool(access.field.text_path and access.text_steps)


def _prefiltered_text(required: RequiredTexts) -> Expression:
    """Build the text of a field; null for a list or object if the payload contains none of the required texts."""
    access = required.get.access
    return text_expressions.of_json(_field(access), {"$cond": [required.in_payload, list_or_object_text(access), None]})


def list_or_object_text(access: Access) -> Expression:
    """Build the compact JSON text of a list or object, whose value is `$$v`, at a path in a JSON field."""
    if access.field.text_path:
        return text_expressions.of_part(f"${access.field.text_path}", access.text_steps)
    return text_expressions.of_strings(_V)


def _text(node: Operand) -> Expression:
    match node:
        case Literal(str() as text):
            return {"$literal": text}
        case Get(_, access) if access.field.kind is Kind.TIME:
            return text_expressions.of_time(path_expression(access))
        case Get(_, access) if access.field.kind is Kind.JSON:
            return text_expressions.of_json(_field(access), list_or_object_text(access))
        case _:
            return _let_operands({"v": value_expression(node)}, text_expressions.SCALAR, node)


def _double(node: Operand) -> Expression:
    return _number(node, {"$toDouble": _V}, "double", NUMERIC)


def _int(node: Operand) -> Expression:
    whole = {"$cond": [{"$eq": [{"$trunc": _V}, _V]}, _converted("long"), None]}
    return _number(node, whole, "long", _INTEGRAL)


def _number(node: Operand, number: Expression, to: str, pattern: str) -> Expression:
    is_numeric = {"$and": [_is(_V, "string"), {"$regexMatch": {"input": _string(), "regex": pattern}}]}
    branches = [
        {"case": {"$isNumber": _V}, "then": number},
        {"case": is_numeric, "then": _converted(to)},
    ]
    return _let_operands({"v": value_expression(node)}, {"$switch": {"branches": branches, "default": None}}, node)


def _string() -> Expression:
    """The bound value if it is a string, else "": `$regexMatch` fails on other types even in a branch not taken."""
    return {"$cond": [_is(_V, "string"), _V, ""]}


def _converted(to: str) -> Expression:
    return {"$convert": {"input": _V, "to": to, "onError": None, "onNull": None}}


def _bool(node: Operand) -> Expression:
    branches = [
        {"case": _is(_V, "bool"), "then": _V},
        {"case": {"$isNumber": _V}, "then": {"$ne": [_V, 0]}},
        {"case": {"$eq": [_V, "true"]}, "then": True},
        {"case": {"$eq": [_V, "false"]}, "then": False},
    ]
    return _let_operands({"v": value_expression(node)}, {"$switch": {"branches": branches, "default": None}}, node)


def _exists(node: Operand) -> Expression:
    return {"$ne": [value_expression(node), None]}


_CONVERSIONS: Final[dict[Target, Callable[[Operand], Expression]]] = {
    Target.DOUBLE: _double,
    Target.INT: _int,
    Target.STRING: _text,
    Target.BOOL: _bool,
    Target.EXISTS: _exists,
}
