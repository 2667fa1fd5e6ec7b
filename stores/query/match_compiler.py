"""Compiler from queries to MongoDB's match language, which can use indexes; `$expr` only for what it cannot express.

Match-language paths descend into arrays implicitly, so each compiled path also demands that no step of it is an array.
A `$expr` for which an index could help is combined with a weaker match-language condition that the index can serve.
"""

from itertools import chain
from typing import Any, Final

from stores.errors import BadInputError
from stores.json import codec
from stores.json.bson_copy import to_bson
from stores.query import text_expressions
from stores.query.fields import Access, CompiledMatch, Kind
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
from stores.query.value_expressions import (
    NUMERIC,
    condition_expression,
    list_or_object_contains,
    path_expression,
    time_literal,
)

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
    Comparison.EQ: Comparison.EQ,
    Comparison.GT: Comparison.LT,
    Comparison.GTE: Comparison.LTE,
    Comparison.LT: Comparison.GT,
    Comparison.LTE: Comparison.GTE,
}


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
        case And(terms):
            return {"$and": [_match(term) for term in terms]}
        case Or(terms):
            return {"$or": [_match(term) for term in terms]}
        case Not(term):
            return {"$nor": [_match(term)]}
        case Literal(scalar):
            return ALWAYS if scalar is True else NEVER
        case Get() | Convert():
            return _compare(Comparison.EQ, node, Literal(True))  # noqa: FBT003 -- the value itself
        case Compare(comparison, Literal() as left, right) if comparison in _FLIPPED and not isinstance(right, Literal):
            return _compare(_FLIPPED[comparison], right, left)
        case Compare(comparison, left, Literal() as right):
            return _compare(comparison, left, right)
        case In(operand, members):
            return _is_in(operand, members)
        case Contains(Get(_, access), Literal(str() as substr)) if _is_searchable_text(access, substr):
            return _contains(node, access, substr)
        case _:
            return {"$expr": condition_expression(node)}


def _compare(comparison: Comparison, left: Operand, right: Literal) -> Match:
    match left:
        case Get(name, access):
            exact = _compare_field(comparison, name, access, right.value)
        case Convert(Get(_, access), Target.EXISTS) if comparison is Comparison.EQ and isinstance(right.value, bool):
            exact = _exists(access)
            exact = exact if exact is None or right.value else {"$nor": [exact]}
        case Convert(Get(_, access), Target.DOUBLE):
            exact = _compare_double(comparison, access, right.value)
        case _:
            exact = None
    if exact is not None:
        return exact
    condition = _condition(comparison, right.value)
    return _implied_condition(left, condition, [right.value]) | {
        "$expr": condition_expression(Compare(comparison, left, right))
    }


def _is_in(operand: Operand, members: tuple[Operand, ...]) -> Match:
    scalars = [member.value for member in members if isinstance(member, Literal)]
    others = tuple(member for member in members if not isinstance(member, Literal))
    matches = [_equals_scalar(operand, scalars)] if scalars else []
    matches += [{"$expr": condition_expression(In(operand, others))}] if others else []
    return {"$or": matches} if matches else NEVER


def _equals_scalar(operand: Operand, scalars: list[Scalar]) -> Match:
    """Match an operand that equals one of the scalars; a path needs a single `$in`."""
    if not isinstance(operand, Get) or not operand.access.path:
        literals = tuple(Literal(scalar) for scalar in scalars)
        condition = {"$in": [to_bson(scalar) for scalar in scalars]}
        return _implied_condition(operand, condition, scalars) | {"$expr": condition_expression(In(operand, literals))}
    access = operand.access
    is_time = access.field.kind is Kind.TIME
    values = [time_literal(scalar, operand.name) if is_time else scalar for scalar in scalars]
    comparable = [to_bson(scalar) for scalar in values if scalar is not None and _can_equal(access, scalar)]
    matches = [_without_arrays(access, operand.access.path, {"$in": comparable})] if comparable else []
    if None in scalars:
        matches.append(_match(Compare(Comparison.EQ, operand, Literal(None))))
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


def _compare_field(comparison: Comparison, name: str, access: Access, scalar: Scalar) -> Match | None:
    path = access.path
    if isinstance(access, CompiledMatch):
        return dict(access.match)
    if path is None:
        return None
    if scalar is None and comparison is Comparison.EQ and access.field.kind is not Kind.JSON:
        return {path: None}
    if scalar is None:
        exists = _exists(access)
        return NEVER if comparison is not Comparison.EQ or exists is None else {"$nor": [exists]}
    if access.field.kind is Kind.TIME:
        scalar = time_literal(scalar, name)
    if not _can_equal(access, scalar) or (isinstance(scalar, bool) and comparison is not Comparison.EQ):
        return NEVER
    return _without_arrays(access, path, _condition(comparison, scalar))


def _condition(comparison: Comparison, scalar: Scalar) -> Match:
    """Build the match-language condition of a comparison with a scalar."""
    if comparison is Comparison.STARTS_WITH:
        return text_expressions.starting_with(str(scalar))
    return {f"${comparison.value}": to_bson(scalar)}


def _compare_double(comparison: Comparison, access: Access, scalar: Scalar) -> Match | None:
    """Compare numbers as stored, and convert only strings that look like numbers."""
    path = access.path
    if path is None or access.field.kind is Kind.TIME or scalar is None or isinstance(scalar, bool | str):
        return None
    if abs(scalar) >= _EXACT_IN_DOUBLES:
        return None
    # A value that cannot be converted becomes infinity on the non-matching side; null would sort below every number.
    unconvertible = float("-inf") if comparison in (Comparison.GT, Comparison.GTE) else float("inf")
    converted = {
        "$convert": {
            "input": path_expression(access),
            "to": "double",
            "onError": unconvertible,
            "onNull": unconvertible,
        }
    }
    string = {path: {"$regex": NUMERIC}, "$expr": {f"${comparison.value}": [converted, {"$literal": scalar}]}}
    return {"$and": [{"$or": [{path: {f"${comparison.value}": scalar}}, string]}, *_no_arrays(access, with_last=True)]}


def _contains(node: Contains, access: Access, substr: str) -> Match:
    """Match a field's text that contains a literal: strings by regex, which is fast; lists and objects by `$expr`."""
    path = ".".join(access.stored_path)
    # If a string in a list contains the text, so does the list's own JSON text, unless JSON escapes the text.
    is_escaped = codec.encode(substr) != f'"{substr}"'
    guards = _no_arrays(access, with_last=is_escaped)
    in_string = {"$and": [{path: _regex(substr, folded=node.case_insensitive)}, *guards]}
    if access.field.kind is not Kind.JSON:
        return in_string
    # MongoDB evaluates `$not` before `$expr`, but a plain `$type` after it.
    nested = {path: {"$not": {"$not": {"$type": ["object", "array"]}}}}
    in_nested = list_or_object_contains(access, substr, folded=node.case_insensitive)
    return {"$or": [in_string, nested | {"$expr": in_nested}]}


def _is_searchable_text(access: Access, substr: str) -> bool:
    """Return True if only strings can contain the text, and match language can search them."""
    is_stored = access.path is not None and not access.is_whole_json
    return is_stored and access.field.kind in (Kind.TEXT, Kind.JSON) and text_expressions.is_only_in_strings(substr)


def _regex(substr: str, *, folded: bool) -> Match:
    return {"$regex": text_expressions.escaped(substr)} | ({"$options": "i"} if folded else {})


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
        case Convert(Get(_, access), Target.DOUBLE | Target.INT) if access.loose_path and all(map(_is_exact, scalars)):
            return {"$or": [{access.loose_path: condition}, {access.loose_path: ANY_TEXT}]}
        case _:
            return ALWAYS


def _is_exact(scalar: Scalar) -> bool:
    """Return True for a number that a double represents exactly, as it does the adjacent integers."""
    return isinstance(scalar, int | float) and not isinstance(scalar, bool) and abs(scalar) < _EXACT_IN_DOUBLES
