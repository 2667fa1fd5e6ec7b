"""Queries that name ids and nothing else, as those of purges do, so that nothing goes by a slip."""

from collections.abc import Iterator
from typing import Final

from stores.errors import BadInputError
from stores.ids import MAX_ID
from stores.query import Query
from stores.query.fields import FieldTable
from stores.query.syntax_tree import Compare, Comparison, Get, In, Literal, Operand, Operation, Or

_EQUAL: Final = '{"$eq": [{"$getField": "id"}, {"$literal": "<id>"}]}, or an $or of such'
_IN: Final = ', or {"$in": [{"$getField": "id"}, [{"$literal": "<id>"}, …]]}'


def named_ids(query: Query, fields: FieldTable, *, takes_in: bool) -> list[str]:
    """The ids that a query names, each once, by `$eq`, an `$or` of such or, where it is taken, `$in`.

    What is longer than any id is left out: there is none to find.

    Raises:
        BadInputError: it has another shape.
    """
    named = _named(query.operation(fields), takes_in=takes_in)
    return list(dict.fromkeys(found for found in named if len(found) <= MAX_ID))


def _named(operation: Operation, *, takes_in: bool) -> Iterator[str]:
    members: tuple[Operand, ...]
    match operation:
        case In(Get("id"), members) if takes_in:
            pass
        case Or(terms):
            members = tuple(map(_equal_to, terms))
        case _:
            members = (_equal_to(operation),)
    for member in members:
        match member:
            case Literal(str() as found):
                yield found
            case _:
                raise BadInputError(
                    f"must name ids: {_EQUAL}{_IN if takes_in else ''}; for anything else ask for the ids first",
                    "query",
                )


def _equal_to(term: Operand) -> Operand:
    """What a term says that the id equals; itself where it says anything else."""
    match term:
        case Compare(Comparison.EQ, Get("id"), member):
            return member
        case _:
            return term
