"""The rows of runs: one for each example, made of the predictions that are about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.evaluations.logged_runs import predictions_of
from stores.evaluations.scores import (
    OUTPUT,
    OUTPUT_BY_EITHER_NAME,
    PREDICTION_FIELDS,
    TEXT_BY_EITHER_NAME,
    number_at,
)
from stores.paging import Order
from stores.query import Query
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort

Stages = list[dict[str, Any]]

Numbers = dict[str, tuple[str, Access]]
"""By name where numbers are, and under which path a row gets their mean."""

EVERY_ROW: Final[dict[str, Any]] = {}

BY_EXAMPLE: Final = {"example_digest": 1, "started_at": 1, "id": 1}
"""The order of an index, in which the predictions of an example come the oldest first; it leads to nothing else."""
_OLDEST_FIRST: Final = (SortBy("started_at"),)
_STARTED_AT: Final = "started_at"
_PLAIN: Final = (Field("id", "id", optional=False), Field(_STARTED_AT, _STARTED_AT, Kind.TIME, optional=False))


@dataclass(frozen=True)
class RowsSearch:
    """The rows of a run, in an order; a row's `id` is its example's digest.

    Rows that have a prediction for which a query holds; what they are sorted by is the mean over all such predictions.
    """

    source: Stages
    order: Order


def rows_search(
    project_id: str, run_id: str, sort_by: Sequence[SortBy] | None = None, query: Query | None = None
) -> RowsSearch:
    """The search of a run's rows; without a sort those come first that were begun first.

    Raises:
        BadInputError: the sort or the query breaks a rule.
    """
    means = sorted_numbers(sort_by or ())
    source = [
        *chosen(project_id, [run_id], query, means),
        {
            "$group": {
                "_id": "$example_digest",
                "id": {"$first": "$example_digest"},
                _STARTED_AT: {"$first": "$started_at"},
                **{path: {"$avg": number_at(access)} for path, access in means.values()},
            }
        },
    ]
    return RowsSearch(source, order_by(sort_by, {name: path for name, (path, _) in means.items()}))


def counted(project_id: str, run_id: str, query: Query | None = None) -> Stages:
    """The stages that find a document for each row."""
    return [*chosen(project_id, [run_id], query), {"$group": {"_id": "$example_digest"}}]


def chosen(project_id: str, run_ids: Sequence[str], query: Query | None = None, means: Numbers | None = None) -> Stages:
    """The stages that find the predictions of runs for which a query holds, example by example, to get their means."""
    reads_output = query or any(access.field is OUTPUT for _, access in (means or {}).values())
    return [
        {"$match": predictions_of(project_id, run_ids)},
        {"$sort": BY_EXAMPLE},
        *([TEXT_BY_EITHER_NAME] if query else ()),
        *([OUTPUT_BY_EITHER_NAME] if reads_output else ()),
        *([{"$match": query.match(PREDICTION_FIELDS)}] if query else ()),
    ]


def sorted_numbers(sort_by: Sequence[SortBy]) -> Numbers:
    """The numbers by which rows are sorted.

    Raises:
        BadInputError: a field is unknown, or no number.
    """
    found: Numbers = {}
    for position, key in enumerate(sort_by):
        if key.field in (_STARTED_AT, "startedAt"):
            continue
        at = f"sort_by.{position}.field"
        try:
            access = PREDICTION_FIELDS[key.field]
        except BadInputError as error:
            raise BadInputError(error.message, at) from None
        is_inside = access.field.kind is Kind.JSON and (access.steps or access.field.name == "model_latency")
        if access.field.kind is not Kind.NUMBER and not is_inside:
            raise BadInputError(
                f"rows are sorted by numbers, and {key.field[:100]} is none; sort by started_at, latency_ms, "
                "total_tokens, model_latency or a number in scores or output, such as scores.helpfulness.grade",
                at,
            )
        found[key.field] = f"_by_{position}", access
    return found


def order_by(sort_by: Sequence[SortBy] | None, paths: dict[str, str]) -> Order:
    """The order of rows that have the numbers to sort by at some paths.

    Raises:
        BadInputError: a field is named twice, or there are too many.
    """
    numbers = (Field(name, path, Kind.NUMBER) for name, path in paths.items())
    return compile_sort(sort_by or _OLDEST_FIRST, FieldTable([*_PLAIN, *numbers]))
