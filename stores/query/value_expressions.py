"""Operands as aggregation expressions, for what match language cannot say.

Every expression gives null, never a missing value, where there is nothing. Literals are wrapped, so that nothing in
them is read as an operator or a path; keys are reached one by one, since a dotted path would walk into arrays.
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
"""The strings that `$convert` to `double` takes; MongoDB's own takes more."""

_HELD: Final = {Kind.TEXT: "texts", Kind.NUMBER: "numbers", Kind.TIME: "times"}
_WRITTEN: Final = {
    Kind.TEXT: "a text in quotes",
    Kind.NUMBER: "a number without quotes",
    Kind.TIME: "an ISO 8601 time or unix seconds",
}
_CHARACTERS: Final = {Kind.NUMBER: frozenset("-+.e0123456789"), Kind.TIME: frozenset("-:.tz0123456789")}
"""All characters in the texts of numbers and times, in lower case."""

_CONVERTED: Final = {Target.STRING: Kind.TEXT, Target.DOUBLE: Kind.NUMBER, Target.INT: Kind.NUMBER}
"""The kind of value that a conversion gives; a boolean for all others."""

_MOST_SOUGHT: Final = 20
"""Texts for which a payload's text is searched before a part is cut out of it."""

_INTEGRAL: Final = r"^[+-]?[0-9]+$"
_V: Final = "$$v"


def truth(node: Operand) -> Expression:
    """Whether a node holds, as an expression that gives true or false: a value holds if it is the boolean true."""
    match node:
        case And(terms):
            return {"$and": [truth(term) for term in terms]}
        case Or(terms):
            return {"$or": [truth(term) for term in terms]}
        case Not(term):
            return {"$not": [truth(term)]}
        case Compare(comparison, left, right):
            return _compare(comparison, left, right)
        case In(operand, members):
            return _is_in(operand, members)
        case Contains(operand, substr, folded):
            return _contains(operand, substr, folded=folded)
        case _:
            return {"$eq": [value(node), True]}


def value(node: Operand) -> Expression:
    """The value of a node."""
    match node:
        case Literal(scalar):
            return {"$literal": to_bson(scalar)}
        case Get(_, access):
            return _field(access)
        case Convert(operand, to):
            return _CONVERSIONS[to](operand)
        case _:
            return truth(node)


def _field(access: Access) -> Expression:
    if access.field.kind is Kind.TIME:
        return {"$ifNull": [{"$divide": [f"${access.field.path}", times.SECOND]}, None]}
    return {"$ifNull": [reach(access), None]}


def reach(access: Access) -> Expression:
    """The expression of a field or a place in a JSON field; missing where there is nothing."""
    found: Expression = f"${access.field.path}"
    parents: list[Expression] = []
    for step in access.steps:
        if not is_index(step):
            found = _member(found, step)
            continue
        parents.append(found)
        found = {"$cond": [{"$isArray": _V}, {"$arrayElemAt": [_V, int(step)]}, _member(_V, step)]}
    # Each `$let` is in the `in` of the one before: MongoDB 7 plans `vars` twice, so nesting there doubles the time.
    for parent in reversed(parents):
        found = bound(parent, found)
    return found


def _member(found: Expression, key: str) -> Expression:
    return {"$getField": {"field": {"$literal": key}, "input": found}}


def bound(found: Expression, use: Expression) -> Expression:
    """An expression that uses another one, computed once, as `$$v`."""
    return {"$let": {"vars": {"v": found}, "in": use}}


def _bound_operands(values: dict[str, Expression], use: Expression, *operands: Operand) -> Expression:
    """An expression that uses the values of operands, each computed once, as variables.

    MongoDB 7 plans the `vars` of a `$let` twice: operations nested in them would double the time at each level, and
    neither maxTimeMS nor killOp ends planning. It plans the `input` of a `$reduce` once, which runs a little slower.
    """
    if not any(map(_is_operation, operands)):
        return {"$let": {"vars": values, "in": use}}
    variables = {name: f"$$this.{name}" for name in values}
    return {"$reduce": {"input": [values], "initialValue": None, "in": {"$let": {"vars": variables, "in": use}}}}


def _is_operation(operand: Operand) -> bool:
    """Whether an operand is more than a field, a literal or one conversion of these."""
    return not isinstance(operand.operand if isinstance(operand, Convert) else operand, Get | Literal)


def time_literal(scalar: Scalar, name: str) -> int | None:
    """The microseconds that a literal beside a time means: ISO 8601, or unix seconds to the nearest microsecond.

    Booleans and null are no times and stay what they are.

    Raises:
        BadInputError: it is a text that is no time.
    """
    if isinstance(scalar, str):
        try:
            return times.parse(scalar)
        except BadInputError as error:
            raise BadInputError(f"{name} compares with times: {error.message}, and not unix seconds") from None
    if scalar is None or isinstance(scalar, bool):
        return scalar
    return round(Fraction(scalar) * times.SECOND)


def fitting(scalar: Scalar, name: str, access: Access, comparison: Comparison) -> Scalar:
    """A literal beside a field, as the field spells its values; null and what stands beside JSON stay as they are.

    Raises:
        BadInputError: the field never holds a value of the literal's type, or it lists its values and this is none.
    """
    field = access.field
    if scalar is not None and field.instead and not access.steps:
        raise BadInputError(f"{name} as a whole is a list or an object, never {_json(scalar)}; {field.instead}")
    if field.kind is Kind.JSON or scalar is None:
        return scalar
    if comparison is Comparison.STARTS_WITH and field.kind is not Kind.TEXT:
        raise BadInputError(f"{name} holds {_HELD[field.kind]}, which start with no text; convert it to string first")
    if field.kind is Kind.TIME and isinstance(scalar, str):
        time_literal(scalar, name)
        return scalar
    if not _is_of(scalar, field.kind):
        raise BadInputError(f"{name} holds {_HELD[field.kind]}, never {_json(scalar)}; write {_WRITTEN[field.kind]}")
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
    is_start = comparison is Comparison.STARTS_WITH
    # On either side: the literal may be the text that starts with the field's value.
    starts = is_start and any(known.startswith(folded) or folded.startswith(known) for known in field.values)
    if not starts and folded not in field.values:
        how = "never starts with" if is_start else "is never"
        raise BadInputError(f"{name} {how} {str(scalar)[:100]!r}; it is one of {', '.join(field.values)}")
    return folded


def fitting_part(substr: str, name: str, field: Field) -> str:
    """A text to look for in a field, as the field spells its values.

    Raises:
        BadInputError: no value of the field has such a part.
    """
    characters = _CHARACTERS.get(field.kind)
    if characters and not characters.issuperset(substr.lower()):
        raise BadInputError(f"{name} holds {_HELD[field.kind]}, in which there is never {_json(substr)}")
    if not field.values:
        return substr
    folded = substr.lower()
    if not any(folded in known for known in field.values):
        raise BadInputError(f"{name} never has {substr[:100]!r} in it; it is one of {', '.join(field.values)}")
    return folded


def check_converted(scalar: Scalar, to: Target) -> None:
    """Hold a literal beside a conversion to the type of what comes of it, or null.

    Raises:
        BadInputError: it has another type.
    """
    kind = _CONVERTED.get(to)
    fits = isinstance(scalar, bool) if kind is None else _is_of(scalar, kind)
    if scalar is not None and not fits:
        written = "true or false" if kind is None else _WRITTEN[kind]
        raise BadInputError(f"a conversion to {to} never gives {_json(scalar)}; write {written}")


def check_condition(scalar: Scalar) -> None:
    """Hold a literal beside a condition to true or false, or null.

    Raises:
        BadInputError: it is something else.
    """
    if scalar is not None and not isinstance(scalar, bool):
        raise BadInputError(f"a condition never gives {_json(scalar)}; write true or false")


def check_kinds(comparison: Comparison, left: Operand, right: Operand) -> None:
    """Hold two columns or conversions to kinds of which values can be equal, or in an order.

    Raises:
        BadInputError: one is a text, the other is a number or a time, and they are not both null.
    """
    are_texts = {kind is Kind.TEXT for kind in (_kind(left), _kind(right)) if kind}
    has_value = any(isinstance(node, Get) and not node.access.field.optional for node in (left, right))
    if len(are_texts) > 1 and (has_value or comparison is not Comparison.EQ):
        raise BadInputError("compares a text with a number or a time, which is never true; convert one of them")


def _kind(node: Operand) -> Kind | None:
    """The kind of a column or a conversion; None where it may be of any, or a boolean."""
    match node:
        case Get(_, access) if access.field.kind is not Kind.JSON:
            return access.field.kind
        case Convert(_, to):
            return _CONVERTED.get(to)
        case _:
            return None


def _is_of(scalar: Scalar, kind: Kind) -> bool:
    return isinstance(scalar, str if kind is Kind.TEXT else int | float) and not isinstance(scalar, bool)


def _json(scalar: Scalar) -> str:
    """A literal as a query spells it, shortened."""
    return json.dumps(scalar, ensure_ascii=False)[:100]


def _compare(comparison: Comparison, left: Operand, right: Operand) -> Expression:
    first, second = _sides(left, right)
    if found := sought(Compare(comparison, left, right)):
        first = _text_with(found)
    if comparison is Comparison.EQ:
        return {"$eq": [first, second]}
    if comparison is Comparison.STARTS_WITH:
        starts = {"$cond": [_BOTH_STRINGS, {"$eq": [{"$indexOfBytes": ["$$a", "$$b"]}, 0]}, False]}
        return _bound_operands({"a": first, "b": second}, starts, left, right)
    ordered = {f"${comparison.value}": ["$$a", "$$b"]}
    numbers = {"$and": [{"$isNumber": "$$a"}, {"$isNumber": "$$b"}, ordered]}
    strings = {"$and": [_BOTH_STRINGS, ordered]}
    return _bound_operands({"a": first, "b": second}, {"$or": [numbers, strings]}, left, right)


def _sides(left: Operand, right: Operand) -> tuple[Expression, Expression]:
    for time, other, is_flipped in ((left, right, False), (right, left, True)):
        if isinstance(time, Get) and isinstance(other, Literal) and _is_time(time, other):
            exact = {"$ifNull": [reach(time.access), None]}
            micros = {"$literal": to_bson(time_literal(other.value, time.name))}
            return (micros, exact) if is_flipped else (exact, micros)
    return value(left), value(right)


def _is_in(operand: Operand, members: tuple[Operand, ...]) -> Expression:
    """That a member is equal; the operand stands there once, or one `in` inside another would multiply its size."""
    found, plain = [], []
    for member in members:
        if _is_time(operand, member) or _is_time(member, operand):
            found.append(_compare(Comparison.EQ, operand, member))
        else:
            plain.append({"$eq": [_V, value(member)]})
    by_text = sought(In(operand, members))
    bound_value = _text_with(by_text) if by_text else value(operand)
    return {"$or": [*found, _bound_operands({"v": bound_value}, {"$or": plain}, operand)]}


def _is_time(node: Operand, other: Operand) -> bool:
    """Whether a node is a time beside a literal, which is then read as one."""
    return isinstance(node, Get) and node.access.field.kind is Kind.TIME and isinstance(other, Literal)


def _is(expression: Expression, name: str) -> Expression:
    return {"$eq": [{"$type": expression}, name]}


_BOTH_STRINGS: Final[Expression] = {"$and": [_is("$$a", "string"), _is("$$b", "string")]}


def _contains(operand: Operand, substr: Operand, *, folded: bool) -> Expression:
    by_text = sought(Contains(operand, substr, folded))
    text = _text_with(by_text) if by_text else _text(operand)
    if folded and isinstance(substr, Literal):
        return _holds(text, str(substr.value), folded=True)
    found = {"$gte": [{"$indexOfBytes": ["$$a", "$$b"]}, 0]}
    return _bound_operands({"a": text, "b": _text(substr)}, {"$cond": [_BOTH_STRINGS, found, False]}, operand, substr)


def nested_contains(access: Access, substr: str, *, folded: bool) -> Expression:
    """Whether a list or an object at a place in a JSON field contains a text in its own; false for other values."""
    nested = nested_text(access)
    if is_part(access):
        nested = {"$cond": [_holds(f"${access.field.text_path}", substr, folded=folded), nested, None]}
    return _holds(text_expressions.of_nested(_field(access), nested), substr, folded=folded)


def _holds(text: Expression, substr: str, *, folded: bool) -> Expression:
    """Whether a text, or null, has another one in it."""
    if folded:
        return {"$regexMatch": {"input": text, "regex": text_expressions.escaped(substr), "options": "i"}}
    return {"$gte": [{"$indexOfBytes": [text, {"$literal": substr}]}, 0]}


@dataclass(frozen=True, slots=True)
class Sought:
    """Texts of which a field's text holds one wherever a condition is true."""

    get: Get
    substrings: Sequence[str]
    folded: bool = False

    @property
    def in_payload(self) -> Expression:
        """Whether the text of the whole payload holds one, so that the text of the field may."""
        whole = f"${self.get.access.field.text_path}"
        return {"$or": [_holds(whole, each, folded=self.folded) for each in self.substrings]}


def sought(node: Operand) -> Sought | None:
    """The texts that a condition looks for in a list or an object inside a payload; None if it says none, or many."""
    match node:
        case Contains(Get() as get, Literal(str() as substr), folded):
            found = Sought(get, (substr,), folded)
        case Compare(
            Comparison.EQ | Comparison.STARTS_WITH, Convert(Get() as get, Target.STRING), Literal(str() as substr)
        ):
            found = Sought(get, (substr,))
        case In(Convert(Get() as get, Target.STRING), members) if len(members) <= _MOST_SOUGHT:
            substrings = [each.value for each in members if isinstance(each, Literal) and isinstance(each.value, str)]
            if len(substrings) < len(members):
                return None
            found = Sought(get, substrings)
        case _:
            return None
    return found if is_part(get.access) else None


def is_part(access: Access) -> bool:
    """Whether a place is inside a payload, so that the text of a list or an object there is a part of another text."""
    return bool(access.field.text_path and access.text_steps)


def _text_with(sought_texts: Sought) -> Expression:
    """The text of a field, or null for a list or an object where the payload's text lacks what is sought in it."""
    access = sought_texts.get.access
    return text_expressions.of_json(_field(access), {"$cond": [sought_texts.in_payload, nested_text(access), None]})


def nested_text(access: Access) -> Expression:
    """The compact JSON text of a list or an object at a place in a JSON field; `$$v` is its value."""
    if access.field.text_path:
        return text_expressions.of_part(f"${access.field.text_path}", access.text_steps)
    return text_expressions.of_strings(_V)


def _text(node: Operand) -> Expression:
    match node:
        case Literal(str() as text):
            return {"$literal": text}
        case Get(_, access) if access.field.kind is Kind.TIME:
            return text_expressions.of_time(reach(access))
        case Get(_, access) if access.field.kind is Kind.JSON:
            return text_expressions.of_json(_field(access), nested_text(access))
        case _:
            return _bound_operands({"v": value(node)}, text_expressions.SCALAR, node)


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
    return _bound_operands({"v": value(node)}, {"$switch": {"branches": branches, "default": None}}, node)


def _string() -> Expression:
    """The bound value where it is a string; `$regexMatch` refuses anything else, even where it is not reached."""
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
    return _bound_operands({"v": value(node)}, {"$switch": {"branches": branches, "default": None}}, node)


def _exists(node: Operand) -> Expression:
    return {"$ne": [value(node), None]}


_CONVERSIONS: Final[dict[Target, Callable[[Operand], Expression]]] = {
    Target.DOUBLE: _double,
    Target.INT: _int,
    Target.STRING: _text,
    Target.BOOL: _bool,
    Target.EXISTS: _exists,
}
