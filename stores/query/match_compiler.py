"""Compiler from queries to MongoDB's match language, which can use indexes; `$expr` only for what it cannot express.

Match-language paths descend into arrays implicitly, so each compiled path also demands that no step of it is an array.
A `$expr` for which an index could help is combined with a weaker match-language condition that the index can serve.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from stores.errors import BadInputError
from stores.json import codec
from stores.json.bson_copy import to_bson
from stores.paging import starting_with
from stores.query import text_expressions
from stores.query.fields import Access, CompiledMatch, Kind
from stores.query.parser import COMPARISONS, Get, Literal, Operand, Operation, Operator, Scalar, is_time, time_literal
from stores.query.value_expressions import NUMERIC, condition_expression, list_or_object_contains, path_expression

Match = dict[str, Any]

ALWAYS: Final[Match] = {}
NEVER: Final[Match] = {"_id": {"$in": []}}
ANY_TEXT: Final[Match] = {"$gte": ""}
"""Matches every string and nothing else, as one index range."""

MAX_LEVELS: Final = 180
"""Nesting levels of a match, out of the 200 that MongoDB allows; pages and plans wrap the match in further levels."""

_CONTAINERS: Final = {dict, list}
_EXACT_IN_DOUBLES: Final = 1 << 53
_FLIPPED: Final = {
    Operator.EQ: Operator.EQ,
    Operator.GT: Operator.LT,
    Operator.GTE: Operator.LTE,
    Operator.LT: Operator.GT,
    Operator.LTE: Operator.GTE,
}
_JUNCTIONS: Final = {Operator.AND: "$and", Operator.OR: "$or", Operator.NOT: "$nor"}


def compile_match(node: Operand) -> Match:
    """Compile a node into a match that is true or false for each document, so that `$nor` negates it exactly.

    Raises:
        BadInputError: if a time is compared with a text that is no time, or if the match nests more than `MAX_LEVELS`.
    """
    match = _match(node)
    if _levels(match) > MAX_LEVELS:
        raise BadInputError("nests too deeply; use fewer nested operations or shorter paths", "query")
    return match


def _levels(tree: Match) -> int:
    count, level = 1, [tree]
    while level:
        count += 1
        members = chain.from_iterable([node.values() if type(node) is dict else node for node in level])
        level = [member for member in members if type(member) in _CONTAINERS]
    return count


def _match(node: Operand) -> Match:
    match node:
        case Operation(operator, terms) if operator in _JUNCTIONS:
            return {_JUNCTIONS[operator]: [_match(term) for term in terms]}
        case Literal(scalar):
            return ALWAYS if scalar is True else NEVER
        case Operation(operator, (Literal() as left, right)) if operator in _FLIPPED and not isinstance(right, Literal):
            return _compare(_FLIPPED[operator], right, left.value)
        case Operation(operator, (left, Literal(scalar))) if operator in COMPARISONS:
            return _compare(operator, left, scalar)
        case Operation(Operator.IN, (operand, *members)):
            return _is_in(operand, members)
        case Operation(Operator.CONTAINS, (Get(_, access), Literal(str() as substr)), folded) if _is_searchable_text(
            access, substr
        ):
            return _contains(access, substr, folded=folded)
        case Get() | Operation(_, (_,)):  # a field or a conversion
            return _compare(Operator.EQ, node, scalar=True)
        case _:
            return {"$expr": condition_expression(node)}


def _compare(operator: Operator, left: Operand, scalar: Scalar) -> Match:
    match left:
        case Get(name, access):
            exact = _compare_field(operator, name, access, scalar)
        case Operation(Operator.EXISTS, (Get(_, access),)) if operator is Operator.EQ and isinstance(scalar, bool):
            exact = _exists(access)
            exact = exact if exact is None or scalar else {"$nor": [exact]}
        case Operation(Operator.DOUBLE, (Get(_, access),)):
            exact = _compare_double(operator, access, scalar)
        case _:
            exact = None
    if exact is not None:
        return exact
    implied = _implied_condition(left, _condition(operator, scalar), [scalar])
    return implied | {"$expr": condition_expression(Operation(operator, (left, Literal(scalar))))}


def _is_in(operand: Operand, members: Sequence[Operand]) -> Match:
    scalars = [member.value for member in members if isinstance(member, Literal)]
    others = [member for member in members if not isinstance(member, Literal)]
    matches = [_equals_scalar(operand, scalars)] if scalars else []
    matches += [{"$expr": condition_expression(Operation(Operator.IN, (operand, *others)))}] if others else []
    return {"$or": matches} if matches else NEVER


def _equals_scalar(operand: Operand, scalars: list[Scalar]) -> Match:
    """Match an operand that equals one of the scalars; a path needs a single `$in`."""
    path = operand.access.path if isinstance(operand, Get) else None
    if not isinstance(operand, Get) or not path:
        membership = Operation(Operator.IN, (operand, *map(Literal, scalars)))
        condition = {"$in": [to_bson(scalar) for scalar in scalars]}
        return _implied_condition(operand, condition, scalars) | {"$expr": condition_expression(membership)}
    access = operand.access
    values = [time_literal(scalar, operand.name) for scalar in scalars] if is_time(operand) else scalars
    comparable = [to_bson(scalar) for scalar in values if scalar is not None and _can_equal(access, scalar)]
    matches = [_without_arrays(access, path, {"$in": comparable})] if comparable else []
    if None in scalars:
        matches.append(_compare(Operator.EQ, operand, None))
    return {"$or": matches} if matches else NEVER


def _can_equal(access: Access, scalar: Scalar) -> bool:
    """Return True if the field can hold a value equal to the scalar, which is not null."""
    match access.field.kind:
        case Kind.TEXT:
            return isinstance(scalar, str)
        case Kind.JSON:
            return scalar is not None
        case _:
            return isinstance(scalar, int | float) and not isinstance(scalar, bool)


def _compare_field(operator: Operator, name: str, access: Access, scalar: Scalar) -> Match | None:
    path = access.path
    if isinstance(access, CompiledMatch):
        return dict(access.match)
    if path is None:
        return None
    if scalar is None and operator is Operator.EQ and access.field.kind is not Kind.JSON:
        return {path: None}
    if scalar is None:
        exists = _exists(access)
        return NEVER if operator is not Operator.EQ or exists is None else {"$nor": [exists]}
    if access.field.kind is Kind.TIME:
        scalar = time_literal(scalar, name)
    if not _can_equal(access, scalar) or (isinstance(scalar, bool) and operator is not Operator.EQ):
        return NEVER
    return _without_arrays(access, path, _condition(operator, scalar))


def _condition(operator: Operator, scalar: Scalar) -> Match:
    """Build the match-language condition of a comparison with a scalar."""
    if operator is Operator.STARTS_WITH:
        return starting_with(str(scalar))
    return {f"${operator}": to_bson(scalar)}


def _compare_double(operator: Operator, access: Access, scalar: Scalar) -> Match | None:
    """Compare numbers as stored, and convert only strings that look like numbers."""
    path = access.path
    if path is None or access.field.kind is Kind.TIME or scalar is None or isinstance(scalar, bool | str):
        return None
    if abs(scalar) >= _EXACT_IN_DOUBLES:
        return None
    # A value that cannot be converted becomes infinity on the non-matching side; null would sort below every number.
    unconvertible = float("-inf") if operator in (Operator.GT, Operator.GTE) else float("inf")
    conversion = {"input": path_expression(access), "to": "double", "onError": unconvertible, "onNull": unconvertible}
    converted = {"$convert": conversion}
    string = {path: {"$regex": NUMERIC}, "$expr": {f"${operator}": [converted, {"$literal": scalar}]}}
    return {"$and": [{"$or": [{path: {f"${operator}": scalar}}, string]}, *_no_arrays(access, with_last=True)]}


def _contains(access: Access, substr: str, *, folded: bool) -> Match:
    """Match a field's text that contains a literal: strings by regex, which is fast; lists and objects by `$expr`."""
    path = ".".join(access.stored_path)
    # If a string in a list contains the text, so does the list's own JSON text, unless JSON escapes the text.
    is_escaped = codec.encode(substr) != f'"{substr}"'
    guards = _no_arrays(access, with_last=is_escaped)
    pattern = {"$regex": text_expressions.escaped(substr)} | ({"$options": "i"} if folded else {})
    in_string = {"$and": [{path: pattern}, *guards]}
    if access.field.kind is not Kind.JSON:
        return in_string
    # MongoDB evaluates `$not` before `$expr`, but a plain `$type` after it.
    nested = {path: {"$not": {"$not": {"$type": ["object", "array"]}}}}
    in_nested = list_or_object_contains(access, substr, folded=folded)
    return {"$or": [in_string, nested | {"$expr": in_nested}]}


def _is_searchable_text(access: Access, substr: str) -> bool:
    """Return True if only strings can contain the text, and match language can search them."""
    is_stored = access.path is not None and not access.is_whole_json
    return is_stored and access.field.kind in (Kind.TEXT, Kind.JSON) and text_expressions.is_only_in_strings(substr)


def _without_arrays(access: Access, path: str, condition: Match) -> Match:
    return {"$and": [{path: condition}, *_no_arrays(access, with_last=True)]}


def _no_arrays(access: Access, *, with_last: bool) -> list[Match]:
    """Demand that no value along the path into a JSON field is an array; other fields need no condition."""
    if access.field.kind is not Kind.JSON:
        return []
    parts = (access.field.path, *access.steps)
    last = len(parts) if with_last else len(parts) - 1
    return [{".".join(parts[: length + 1]): {"$not": {"$type": "array"}}} for length in range(last)]


def _exists(access: Access) -> Match | None:
    """Match a value that is present and not null."""
    path = access.path
    if path is None:
        return None
    if access.field.kind is not Kind.JSON:
        return {path: {"$ne": None}}
    # An array that contains null is not null itself, but match language would test its members.
    present = {"$or": [{path: {"$type": "array"}}, {path: {"$ne": None}}]}
    return {"$and": [present, *_no_arrays(access, with_last=False)]}


def _implied_condition(left: Operand, condition: Match, scalars: list[Scalar]) -> Match:
    """Derive a weaker condition on a match-language path, so that MongoDB can use an index."""
    match left:
        case Get(_, access) if access.loose_path and None not in scalars:
            return {access.loose_path: condition}
        case Operation(Operator.DOUBLE | Operator.INT, (Get(_, access),)) if access.loose_path and all(
            map(_is_exact, scalars)
        ):
            return {"$or": [{access.loose_path: condition}, {access.loose_path: ANY_TEXT}]}
        case _:
            return ALWAYS


def _is_exact(scalar: Scalar) -> bool:
    """Return True for a number that a double represents exactly, as it does the adjacent integers."""
    return isinstance(scalar, int | float) and not isinstance(scalar, bool) and abs(scalar) < _EXACT_IN_DOUBLES
