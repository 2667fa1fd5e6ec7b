"""Which costs a purge takes: it names their ids, in one of three shapes, so that nothing goes by a slip."""

from typing import Final

from stores.costs.fields import COST_FIELDS
from stores.errors import BadInputError
from stores.query import Query
from stores.query.expressions import Compare, Comparison, Get, In, Literal, Operand, Or

_SHAPES: Final = (
    'must name ids: {"$eq": [{"$getField": "id"}, {"$literal": "…"}]}, an $or of such, or '
    '{"$in": [{"$getField": "id"}, [{"$literal": "…"}, …]]}; find the ids with costs(query: …)'
)


def purged_ids(query: Query) -> list[str]:
    """The ids that the query of a purge names.

    Raises:
        BadInputError: it has another shape.
    """
    operation = query.operation(COST_FIELDS)
    terms = operation.terms if isinstance(operation, Or) else (operation,)
    match operation:
        case In(Get("id"), members):
            return [_id(member) for member in members]
        case _:
            return [_equal_id(term) for term in terms]


def _equal_id(term: Operand) -> str:
    match term:
        case Compare(Comparison.EQ, Get("id"), literal):
            return _id(literal)
        case _:
            raise BadInputError(_SHAPES, "query")


def _id(member: Operand) -> str:
    match member:
        case Literal(str() as found):
            return found
        case _:
            raise BadInputError(_SHAPES, "query")
