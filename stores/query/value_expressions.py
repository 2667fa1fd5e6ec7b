"""Operands as aggregation expressions, for conditions that match language cannot express.

Every expression evaluates to null, never to a missing value, if there is no value. Literals are wrapped in `$literal`,
so that MongoDB reads nothing in them as an operator or a path. Keys are read one at a time, since a dotted path
descends into arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stores import times
from stores.json.bson_copy import to_bson
from stores.query import text_expressions
from stores.query.fields import Access, Kind, is_index
from stores.query.parser import COMPARISONS, TARGETS, Get, Literal, Operand, Operation, Operator, is_time, time_literal
from stores.query.text_expressions import Expression, is_type, let_v, switch

NUMERIC: Final = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
"""Strings that the query language converts to a double; MongoDB's `$convert` accepts more."""

_MAX_REQUIRED_TEXTS: Final = 20
"""Alternative texts that are first searched in a payload's whole text, before a part is extracted from it."""

_V: Final = "$$v"


def condition_expression(node: Operand) -> Expression:
    """Build the boolean expression of a node; a plain value counts as true only if it is `true`."""
    match node:
        case Operation(Operator.AND | Operator.OR | Operator.NOT as operator, terms):
            return {f"${operator}": [condition_expression(term) for term in terms]}
        case Operation(Operator.IN, (operand, *members)):
            return _is_in(node, operand, members)
        case Operation(Operator.CONTAINS, (operand, substr)):
            return _contains(node, operand, substr)
        case Operation(operator, (left, right)) if operator in COMPARISONS:
            return _compare(node, left, right)
        case _:
            return {"$eq": [value_expression(node), True]}


def value_expression(node: Operand) -> Expression:
    """Build the expression of a node's value."""
    match node:
        case Literal(scalar):
            return {"$literal": to_bson(scalar)}
        case Get(_, access):
            return _field(access)
        case Operation(Operator.STRING, (operand,)):
            return _text(operand)
        case Operation(Operator.EXISTS, (operand,)):
            return {"$ne": [value_expression(operand), None]}
        case Operation(operator, (operand,)) if operator in _CONVERTED:
            return _let_operands({"v": value_expression(operand)}, _CONVERTED[operator], operand)
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


def _let_operands(values: dict[str, Expression], body: Expression, *operands: Operand) -> Expression:
    """Bind the operands' values, each computed once, to variables of `body`.

    MongoDB 7 plans the `vars` of a `$let` twice: operations nested in them would double the time at each level, and
    neither maxTimeMS nor killOp stops planning. It plans the `input` of a `$reduce` once, which runs a little slower.
    """
    # One conversion of a field or a literal is fast.
    unconverted = [operand.operands[0] if operand.operator in TARGETS else operand for operand in operands]
    if not any(isinstance(operand, Operation) for operand in unconverted):
        return {"$let": {"vars": values, "in": body}}
    variables = {name: f"$$this.{name}" for name in values}
    return {"$reduce": {"input": [values], "initialValue": None, "in": {"$let": {"vars": variables, "in": body}}}}


def _compare(node: Operation, left: Operand, right: Operand) -> Expression:
    first, second = _side(left, right), _side(right, left)
    if required := required_texts(node):
        first = _prefiltered_text(required)
    if node.operator is Operator.EQ:
        return {"$eq": [first, second]}
    if node.operator is Operator.STARTS_WITH:
        condition = {"$cond": [_BOTH_STRINGS, {"$eq": [{"$indexOfBytes": ["$$a", "$$b"]}, 0]}, False]}
    else:
        ordered = {f"${node.operator}": ["$$a", "$$b"]}
        numbers = {"$and": [{"$isNumber": "$$a"}, {"$isNumber": "$$b"}, ordered]}
        condition = {"$or": [numbers, {"$and": [_BOTH_STRINGS, ordered]}]}
    return _let_operands({"a": first, "b": second}, condition, left, right)


def _side(node: Operand, other: Operand) -> Expression:
    """Build the value of one side of a comparison; a time and a literal compare in whole microseconds."""
    if is_time(node) and isinstance(other, Literal):
        return {"$ifNull": [path_expression(node.access), None]}
    if is_time(other) and isinstance(node, Literal):
        return {"$literal": to_bson(time_literal(node.value, other.name))}
    return value_expression(node)


def _is_in(node: Operation, operand: Operand, members: Sequence[Operand]) -> Expression:
    """Test for an equal member. The operand occurs once, since repeating it in nested `$in`s multiplies the size."""
    times_equal, others = [], []
    for member in members:
        pair = operand, member
        if any(map(is_time, pair)) and any(isinstance(each, Literal) for each in pair):
            times_equal.append(condition_expression(Operation(Operator.EQ, pair)))
        else:
            others.append(value_expression(member))
    required = required_texts(node)
    bound_value = _prefiltered_text(required) if required else value_expression(operand)
    return {"$or": [*times_equal, _let_operands({"v": bound_value}, {"$in": [_V, others]}, operand)]}


_BOTH_STRINGS: Final[Expression] = {"$and": [is_type("$$a", "string"), is_type("$$b", "string")]}


def _contains(node: Operation, operand: Operand, substr: Operand) -> Expression:
    required = required_texts(node)
    text = _prefiltered_text(required) if required else _text(operand)
    if node.case_insensitive and isinstance(substr, Literal):
        return _text_contains(text, str(substr.value), folded=True)
    contains = {"$gte": [{"$indexOfBytes": ["$$a", "$$b"]}, 0]}
    return _let_operands({"a": text, "b": _text(substr)}, {"$cond": [_BOTH_STRINGS, contains, False]}, operand, substr)


def list_or_object_contains(access: Access, substr: str, *, folded: bool) -> Expression:
    """Build the condition that a list or object inside a JSON field contains a text; false for other values."""
    nested = list_or_object_text(access)
    if is_inside_payload(access):
        nested = {"$cond": [_text_contains(f"${access.field.text_path}", substr, folded=folded), nested, None]}
    return _text_contains(text_expressions.of_json(_field(access), nested, None), substr, folded=folded)


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
        case Operation(Operator.CONTAINS, (Get() as get, *literals), folded):
            pass
        case Operation(
            Operator.EQ | Operator.STARTS_WITH | Operator.IN,
            (Operation(Operator.STRING, (Get() as get,)), *literals),
            folded,
        ) if len(literals) <= _MAX_REQUIRED_TEXTS:
            pass
        case _:
            return None
    texts = [each.value for each in literals if isinstance(each, Literal) and isinstance(each.value, str)]
    is_required = len(texts) == len(literals) and is_inside_payload(get.access)
    return RequiredTexts(get, texts, folded) if is_required else None


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


def _is_text_like(pattern: str) -> Expression:
    """Build the condition that `$$v` is a string that matches; `$regexMatch` fails on other types even if unused."""
    string = {"$cond": [is_type(_V, "string"), _V, ""]}
    return {"$and": [is_type(_V, "string"), {"$regexMatch": {"input": string, "regex": pattern}}]}


def _converted(to: str) -> Expression:
    return {"$convert": {"input": _V, "to": to, "onError": None, "onNull": None}}


_IS_NUMBER: Final[Expression] = {"$isNumber": _V}
_CONVERTED: Final[dict[Operator, Expression]] = {
    Operator.DOUBLE: switch((_IS_NUMBER, {"$toDouble": _V}), (_is_text_like(NUMERIC), _converted("double"))),
    Operator.INT: switch(
        (_IS_NUMBER, {"$cond": [{"$eq": [{"$trunc": _V}, _V]}, _converted("long"), None]}),
        (_is_text_like(r"^[+-]?[0-9]+$"), _converted("long")),
    ),
    Operator.BOOL: switch(
        (is_type(_V, "bool"), _V),
        (_IS_NUMBER, {"$ne": [_V, 0]}),
        ({"$eq": [_V, "true"]}, True),
        ({"$eq": [_V, "false"]}, False),
    ),
}
"""The conversion of `$$v`; null if it has no such value."""
