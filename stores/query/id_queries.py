"""Queries restricted to explicit ids, as purges require them, so that a mistaken condition deletes nothing."""

from collections.abc import Iterator, Sequence
from typing import Final

from stores.errors import BadInputError
from stores.ids import MAX_ID
from stores.query import Query
from stores.query.fields import FieldTable
from stores.query.syntax_tree import Get, Literal, Operand, Operation, Operator

_EQUAL_FORM: Final = '{"$eq": [{"$getField": "id"}, {"$literal": "<id>"}]}, or an $or of such'
_IN_FORM: Final = ', or {"$in": [{"$getField": "id"}, [{"$literal": "<id>"}, …]]}'


def named_ids(query: Query, fields: FieldTable, *, allow_in: bool) -> list[str]:
    """Return the distinct ids that a query names by `$eq`, an `$or` of `$eq`, or `$in` if `allow_in`.

    Ids longer than `MAX_ID` are dropped, since none is stored.

    Raises:
        BadInputError: if the query has any other form.
    """
    ids = _id_operands(query.operation(fields), allow_in=allow_in)
    return list(dict.fromkeys(id_ for id_ in ids if len(id_) <= MAX_ID))


def _id_operands(operation: Operation, *, allow_in: bool) -> Iterator[str]:
    members: Sequence[Operand]
    match operation:
        case Operation(Operator.IN, (Get("id"), *members)) if allow_in:
            pass
        case Operation(Operator.OR, terms):
            members = [_compared_with_id(term) for term in terms]
        case _:
            members = [_compared_with_id(operation)]
    for member in members:
        if not isinstance(member, Literal) or not isinstance(member.value, str):
            forms = f"{_EQUAL_FORM}{_IN_FORM if allow_in else ''}"
            raise BadInputError(f"must name ids: {forms}; otherwise query the ids first", "query")
        yield member.value


def _compared_with_id(term: Operand) -> Operand:
    """Return the operand that a term compares the id with; the term itself if it is no such comparison."""
    match term:
        case Operation(Operator.EQ, (Get("id"), member)):
            return member
        case _:
            return term
