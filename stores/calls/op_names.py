"""Names of ops: a plain name, `name:*` or a ref, and which op names of calls each stands for.

A call's `op_name` is a plain name or the ref of an op's version. A plain name stands for itself and for every version
of the project's op of that name, so that the names that calls and roll-ups show lead back to them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from stores.calls.fields import OP_NAME
from stores.errors import BadInputError
from stores.query import Query
from stores.query.fields import FieldTable
from stores.query.parser import MAX_FIELDS
from stores.query.syntax_tree import And, Compare, Comparison, Get, In, Literal, Operand, Or, gets, with_operands
from stores.refs import SCHEME

_ANY_VERSION: Final = ":*"
_NEVER_IN_REFS: Final = frozenset("/:")
"""Characters that the name of an op with versions never has."""


@dataclass(frozen=True, slots=True)
class OpNames:
    """The op names of calls that some names stand for: these themselves, and all that start with one of the prefixes.

    Each prefix ends in a colon.
    """

    exact: Sequence[str]
    prefixes: Sequence[str]


def op_names(project_id: str, names: Iterable[str]) -> OpNames:
    """Expand op names of a filter to exact names and prefixes.

    `name` stands for the plain name and every version of the op, `name:*` for plain names that start with `name:`, too;
    but `weave:*` does not, since every ref starts with `weave:`. A ref stands for itself, and one that ends in `:*` for
    every version.
    """
    exact: dict[str, None] = {}
    prefixes: dict[str, None] = {}
    for name in names:
        plain = name.removesuffix(_ANY_VERSION)
        if plain != name and not SCHEME.startswith(f"{plain}:"):
            prefixes[f"{plain}:"] = None
        if name.startswith(SCHEME):
            exact |= {name: None} if plain == name else {}
            continue
        exact[plain] = None
        if plain and _NEVER_IN_REFS.isdisjoint(plain):
            prefixes[f"{SCHEME}{project_id}/op/{plain}:"] = None
    return OpNames(list(exact), list(prefixes))


def calls_operation(query: Query, fields: FieldTable, project_id: str) -> Operand:
    """The operation of a query over a project's calls, in which names of ops are the op names that they stand for.

    Raises:
        BadInputError: the query makes no sense of the fields, names too many ops, or asks each call for null in a field
            that always has a value.
    """
    asked = query.operation(fields)
    _check_nulls(asked)
    operation = _with_op_names(asked, project_id)
    if sum(1 for _ in gets(operation)) > MAX_FIELDS:
        raise BadInputError(
            f"the names of ops and other fields make more than {MAX_FIELDS:,} conditions; name fewer ops, or refs of "
            "their versions",
            "query",
        )
    return operation


def _check_nulls(node: Operand) -> None:
    match node:
        case And(terms):
            for term in terms:
                _check_nulls(term)
        case Compare(Comparison.EQ, Get(name, access), Literal(None)) | Compare(
            Comparison.EQ, Literal(None), Get(name, access)
        ) if not access.field.optional:
            raise BadInputError(f"{name} is never null, so no call would be found; take out this condition", "query")


def _with_op_names(node: Operand, project_id: str) -> Operand:
    match node:
        case Compare(Comparison.EQ, Get() as get, Literal(str() as name)) if _is_op_name(get):
            return _stands_for(get, [name], (), project_id)
        case Compare(Comparison.EQ, Literal(str() as name), Get() as get) if _is_op_name(get):
            return _stands_for(get, [name], (), project_id)
        case In(Get() as get, members) if _is_op_name(get):
            names = [each.value for each in members if isinstance(each, Literal) and isinstance(each.value, str)]
            others = [each for each in members if not (isinstance(each, Literal) and isinstance(each.value, str))]
            return _stands_for(get, names, [_with_op_names(each, project_id) for each in others], project_id)
        case In(Literal(str() as name) as literal, members) if any(map(_is_op_name, members)):
            get = next(each for each in members if isinstance(each, Get) and _is_op_name(each))
            others = [_with_op_names(each, project_id) for each in members if not _is_op_name(each)]
            return Or((_stands_for(get, [name], (), project_id), In(literal, tuple(others))))
        case _:
            return with_operands(node, lambda operand: _with_op_names(operand, project_id))


def prefixes_of(node: Operand) -> Iterator[str]:
    """The prefixes of op names of which an operation asks for calls; not those of which it excludes calls."""
    match node:
        case Compare(_, _, Literal(str() as prefix)) if _is_prefix(node):
            yield prefix
        case And(terms) | Or(terms):
            for term in terms:
                yield from prefixes_of(term)


def with_versions(node: Operand, names: Sequence[str]) -> Operand:
    """An operation in which op names that start with a prefix of `prefixes_of` are those of some names that do."""
    match node:
        case Or((In(Get() as get, members), *prefixed)) if _is_op_name(get) and all(map(_is_prefix, prefixed)):
            prefixes = tuple(chain.from_iterable(map(prefixes_of, prefixed)))
            return In(get, (*members, *(Literal(name) for name in names if name.startswith(prefixes))))
        case Compare(_, Get() as get, Literal(prefix)) if _is_prefix(node):
            return In(get, tuple([Literal(name) for name in names if name.startswith(str(prefix))]))
        case And() | Or():
            return with_operands(node, lambda term: with_versions(term, names))
        case _:
            # A list of names under a negation, or in a comparison with false, would find calls of names it lacks.
            return node


def _is_prefix(node: Operand) -> bool:
    match node:
        case Compare(Comparison.STARTS_WITH, Get() as get, Literal(str())):
            return _is_op_name(get)
        case _:
            return False


def _is_op_name(node: Operand) -> bool:
    return isinstance(node, Get) and node.access.field is OP_NAME


def _stands_for(get: Get, names: Iterable[str], others: Sequence[Operand], project_id: str) -> Operand:
    """That an op name is one of those that names stand for, or equals another operand."""
    found = op_names(project_id, names)
    members = (*map(Literal, found.exact), *others)
    prefixed = [Compare(Comparison.STARTS_WITH, get, Literal(prefix)) for prefix in found.prefixes]
    if len(members) == 1 and not prefixed:
        return Compare(Comparison.EQ, get, members[0])
    return Or((In(get, members), *prefixed)) if prefixed else In(get, members)
