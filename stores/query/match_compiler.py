"""Queries as match language, so that indexes serve them, with `$expr` only where it cannot say the same.

A path in match language walks into arrays by itself; that is undone by demanding that nothing on the way is one.
Where `$expr` is needed and an index could help, a condition that implies less stands beside it.
"""

from itertools import chain
from typing import Any, Final

from stores.errors import BadInputError
from stores.json import codec
from stores.json.bson_copy import to_bson
from stores.query import text_expressions
from stores.query.fields import Access, Kind, Known
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
from stores.query.value_expressions import NUMERIC, nested_contains, reach, time_literal, truth

Match = dict[str, Any]

ALWAYS: Final[Match] = {}
NEVER: Final[Match] = {"_id": {"$in": []}}
ANY_TEXT: Final[Match] = {"$gte": ""}
"""Any string and nothing else, as a range of an index."""

MAX_LEVELS: Final = 180
"""Of the 200 that MongoDB takes; pages and plans put a match inside some of their own."""

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
    """The match of the documents for which a node holds; two-valued, so that its negation is exact.

    Raises:
        BadInputError: a time is compared with a text that is none, or the match nests deeper than MongoDB takes.
    """
    found = _match(node)
    if _levels(found) > MAX_LEVELS:
        raise BadInputError("nests too deeply; take operations out of each other, or shorten the paths", "query")
    return found


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
        case Contains(Get(_, access), Literal(str() as substr)) if _is_text(access, substr):
            return _contains(node, access, substr)
        case _:
            return {"$expr": truth(node)}


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
    return _implied(left, condition, [right.value]) | {"$expr": truth(Compare(comparison, left, right))}


def _is_in(operand: Operand, members: tuple[Operand, ...]) -> Match:
    scalars = [member.value for member in members if isinstance(member, Literal)]
    others = tuple(member for member in members if not isinstance(member, Literal))
    found = [_is_scalar(operand, scalars)] if scalars else []
    found += [{"$expr": truth(In(operand, others))}] if others else []
    return {"$or": found} if found else NEVER


def _is_scalar(operand: Operand, scalars: list[Scalar]) -> Match:
    """That an operand equals one of some scalars: one `$in` of a path, however many they are."""
    if not isinstance(operand, Get) or not operand.access.path:
        literals = tuple(Literal(scalar) for scalar in scalars)
        condition = {"$in": [to_bson(scalar) for scalar in scalars]}
        return _implied(operand, condition, scalars) | {"$expr": truth(In(operand, literals))}
    access = operand.access
    is_time = access.field.kind is Kind.TIME
    read = [time_literal(scalar, operand.name) if is_time else scalar for scalar in scalars]
    known = [to_bson(scalar) for scalar in read if scalar is not None and _fits(access, scalar)]
    found = [_guarded(access, operand.access.path, {"$in": known})] if known else []
    if None in scalars:
        found.append(_match(Compare(Comparison.EQ, operand, Literal(None))))
    return {"$or": found} if found else NEVER


def _fits(access: Access, scalar: Scalar) -> bool:
    """Whether a field's values can equal a scalar other than null."""
    match access.field.kind:
        case Kind.TEXT:
            return isinstance(scalar, str)
        case Kind.JSON:
            return scalar is not None
        case _:
            return isinstance(scalar, int | float) and not isinstance(scalar, bool)


def _compare_field(comparison: Comparison, name: str, access: Access, scalar: Scalar) -> Match | None:
    path = access.path
    if isinstance(access, Known):
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
    if not _fits(access, scalar) or (isinstance(scalar, bool) and comparison is not Comparison.EQ):
        return NEVER
    return _guarded(access, path, _condition(comparison, scalar))


def _condition(comparison: Comparison, scalar: Scalar) -> Match:
    """What a path in match language meets where it compares so with a scalar."""
    if comparison is Comparison.STARTS_WITH:
        return text_expressions.starting_with(str(scalar))
    return {f"${comparison.value}": to_bson(scalar)}


def _compare_double(comparison: Comparison, access: Access, scalar: Scalar) -> Match | None:
    """Numbers as they are; strings that look like one are read, and those alone."""
    path = access.path
    if path is None or access.field.kind is Kind.TIME or scalar is None or isinstance(scalar, bool | str):
        return None
    if abs(scalar) >= _EXACT_IN_DOUBLES:
        return None
    # What cannot be read compares as infinite, on the side where it does not match; null would be less than any number.
    unread = float("-inf") if comparison in (Comparison.GT, Comparison.GTE) else float("inf")
    read = {"$convert": {"input": reach(access), "to": "double", "onError": unread, "onNull": unread}}
    string = {path: {"$regex": NUMERIC}, "$expr": {f"${comparison.value}": [read, {"$literal": scalar}]}}
    return {"$and": [{"$or": [{path: {f"${comparison.value}": scalar}}, string]}, *_no_arrays(access, with_last=True)]}


def _contains(node: Contains, access: Access, substr: str) -> Match:
    """That a field's text contains another one: strings by a regular expression, which is quick, others by `$expr`."""
    path = ".".join(access.spelling)
    # A list of which a string contains a text has it in its own text, too, unless JSON escapes it.
    is_escaped = codec.encode(substr) != f'"{substr}"'
    guards = _no_arrays(access, with_last=is_escaped)
    in_string = {"$and": [{path: _regex(substr, folded=node.case_insensitive)}, *guards]}
    if access.field.kind is not Kind.JSON:
        return in_string
    # MongoDB evaluates `$not` before `$expr`, but would evaluate `$type` after it.
    nested = {path: {"$not": {"$not": {"$type": ["object", "array"]}}}}
    in_nested = nested_contains(access, substr, folded=node.case_insensitive)
    return {"$or": [in_string, nested | {"$expr": in_nested}]}


def _is_text(access: Access, substr: str) -> bool:
    """Whether no number or boolean can hold a text, and match language can look for it in strings."""
    is_stored = access.path is not None and not access.is_whole_json
    return is_stored and access.field.kind in (Kind.TEXT, Kind.JSON) and text_expressions.is_only_in_strings(substr)


def _regex(substr: str, *, folded: bool) -> Match:
    return {"$regex": text_expressions.escaped(substr)} | ({"$options": "i"} if folded else {})


def _guarded(access: Access, path: str, condition: Match) -> Match:
    return {"$and": [{path: condition}, *_no_arrays(access, with_last=True)]}


def _no_arrays(access: Access, *, with_last: bool) -> list[Match]:
    """That nothing on the way into a JSON field is an array; a plain field has no way."""
    if access.field.kind is not Kind.JSON:
        return []
    parts = (access.field.path, *access.steps)
    last = len(parts) if with_last else len(parts) - 1
    return [{".".join(parts[: length + 1]): {"$not": {"$type": "array"}}} for length in range(last)]


def _exists(access: Access) -> Match | None:
    """That there is a value, and that it is not null."""
    path = access.path
    if path is None:
        return None
    if access.field.kind is not Kind.JSON:
        return {path: {"$ne": None}}
    # An array with a null among its members is not null, but match language would look at the members.
    there = {"$or": [{path: {"$type": "array"}}, {path: {"$ne": None}}]}
    return {"$and": [there, *_no_arrays(access, with_last=False)]}


def _implied(left: Operand, condition: Match, scalars: list[Scalar]) -> Match:
    """What a condition on an operand implies of a path in match language, so that an index may lead there."""
    match left:
        case Get(_, access) if access.loose_path and None not in scalars:
            return {access.loose_path: condition}
        case Convert(Get(_, access), Target.DOUBLE | Target.INT) if access.loose_path and all(map(_is_exact, scalars)):
            return {"$or": [{access.loose_path: condition}, {access.loose_path: ANY_TEXT}]}
        case _:
            return ALWAYS


def _is_exact(scalar: Scalar) -> bool:
    """Whether it is a number that stays what it is as a double, and so do its neighbours."""
    return isinstance(scalar, int | float) and not isinstance(scalar, bool) and abs(scalar) < _EXACT_IN_DOUBLES
