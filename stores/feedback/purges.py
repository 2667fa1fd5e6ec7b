"""What a purge may ask for: feedback by its id, and nothing else, so that no slip takes more."""

from collections.abc import Iterator

from stores.errors import BadInputError
from stores.feedback.fields import FEEDBACK_FIELDS
from stores.query import Query
from stores.query.expressions import Compare, Comparison, Get, Literal, Operand, Or


def purged_ids(query: Query) -> list[str]:
    """The ids that a query names.

    Raises:
        BadInputError: it is another query than `id` equal to a string, or an `$or` of such.
    """
    operation = query.operation(FEEDBACK_FIELDS)
    terms = operation.terms if isinstance(operation, Or) else (operation,)
    return list(dict.fromkeys(_ids(terms)))


def _ids(terms: tuple[Operand, ...]) -> Iterator[str]:
    for term in terms:
        match term:
            case Compare(Comparison.EQ, Get("id"), Literal(str() as feedback_id)):
                yield feedback_id
            case _:
                raise BadInputError(
                    'a purge goes by ids: {"$eq": [{"$getField": "id"}, {"$literal": "<id>"}]}, or an $or of such; '
                    "for anything else ask feedback for the ids first",
                    "query",
                )
