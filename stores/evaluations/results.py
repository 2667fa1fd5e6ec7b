"""Result rows: one row per example, grouped from the predictions of one run or of several runs to compare."""

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
from stores.ids import check_call_id
from stores.paging import Order
from stores.query import Query
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.query.text_expressions import Expression

Stages = list[dict[str, Any]]

Numbers = dict[str, tuple[str, Access]]
"""Numbers to sort by: field name to the row path of its mean, and the access to the number."""

EVERY_ROW: Final[dict[str, Any]] = {}

MIN_RUNS: Final = 2
MAX_RUNS: Final = 10
"""Limits on the runs of one comparison."""

BY_EXAMPLE: Final = {"example_digest": 1, "started_at": 1, "id": 1}
"""The order of an index that groups the predictions of each example, oldest first."""
_OLDEST_FIRST: Final = (SortBy("started_at"),)
_STARTED_AT: Final = "started_at"
_PLAIN: Final = (Field("id", "id", optional=False), Field(_STARTED_AT, _STARTED_AT, Kind.TIME, optional=False))


@dataclass(frozen=True)
class RowListQuery:
    """A compiled list query over result rows; a row's `id` is the example digest.

    A row needs one prediction that matches the query. Sort values are means over all matching predictions.
    """

    source: Stages
    order: Order


def row_list_query(
    project_id: str,
    run_ids: Sequence[str],
    sort_by: Sequence[SortBy] | None = None,
    query: Query | None = None,
    *,
    only_common: bool = False,
) -> RowListQuery:
    """Compile the list query over the rows of runs; the default order is by start time.

    With `only_common` it returns only examples that all runs have. A sort by a number sorts by the mean; for several
    runs, by the mean in the last run minus the mean in the first.

    Raises:
        BadInputError: the sort or the query is invalid.
    """
    numbers = sort_numbers(sort_by or ())
    first, last = run_ids[0], run_ids[-1]
    means = {path: _mean_in(first, access) for path, access in numbers.values()}
    if first != last:
        means |= {f"{path}_last": _mean_in(last, access) for path, access in numbers.values()}
    changes = {path: {"$subtract": [f"${path}_last", f"${path}"]} for path, _ in numbers.values()}
    source: Stages = [
        *matching_predictions(project_id, run_ids, query, numbers),
        {
            "$group": {
                "_id": "$example_digest",
                "id": {"$first": "$example_digest"},
                _STARTED_AT: {"$first": "$started_at"},
                **({"runs": {"$addToSet": "$parent_id"}} if only_common else {}),
                **means,
            }
        },
        *([{"$match": {"runs": {"$size": len(run_ids)}}}] if only_common else ()),
        *([{"$set": changes}] if changes and first != last else ()),
    ]
    return RowListQuery(source, order_by(sort_by, {name: path for name, (path, _) in numbers.items()}))


def _mean_in(run_id: str, access: Access) -> Expression:
    return {"$avg": {"$cond": [{"$eq": ["$parent_id", {"$literal": run_id}]}, number_at(access), None]}}


def matching_predictions(
    project_id: str, run_ids: Sequence[str], query: Query | None = None, means: Numbers | None = None
) -> Stages:
    """Build the stages that filter the predictions of runs by `query`, ordered by example."""
    reads_output = query or any(access.field is OUTPUT for _, access in (means or {}).values())
    return [
        {"$match": predictions_of(project_id, run_ids)},
        {"$sort": BY_EXAMPLE},
        *([TEXT_BY_EITHER_NAME] if query else ()),
        *([OUTPUT_BY_EITHER_NAME] if reads_output else ()),
        *([{"$match": query.match(PREDICTION_FIELDS)}] if query else ()),
    ]


def sort_numbers(sort_by: Sequence[SortBy]) -> Numbers:
    """Return the numbers to sort by.

    Raises:
        BadInputError: a field is unknown or is not a number.
    """
    numbers: Numbers = {}
    for position, key in enumerate(sort_by):
        if key.field in (_STARTED_AT, "startedAt"):
            continue
        argument = f"sort_by.{position}.field"
        try:
            access = PREDICTION_FIELDS[key.field]
        except BadInputError as error:
            raise BadInputError(error.message, argument) from None
        is_inside = access.field.kind is Kind.JSON and (access.steps or access.field.name == "model_latency")
        if access.field.kind is not Kind.NUMBER and not is_inside:
            raise BadInputError(
                f"{key.field[:100]} is not a number; sort rows by started_at, latency_ms, "
                "total_tokens, model_latency or a number in scores or output, such as scores.helpfulness.grade",
                argument,
            )
        numbers[key.field] = f"_by_{position}", access
    return numbers


def order_by(sort_by: Sequence[SortBy] | None, paths: dict[str, str]) -> Order:
    """Compile the order of rows whose sort numbers are at `paths`.

    Raises:
        BadInputError: a field is repeated, or there are too many.
    """
    numbers = (Field(name, path, Kind.NUMBER) for name, path in paths.items())
    return compile_sort(sort_by or _OLDEST_FIRST, FieldTable([*_PLAIN, *numbers]))


def check_runs(call_ids: Sequence[str]) -> None:
    """Validate the run ids of a comparison.

    Raises:
        BadInputError: there are fewer than `MIN_RUNS` or more than `MAX_RUNS`, an id is repeated, or is not a call id.
    """
    if not MIN_RUNS <= len(call_ids) <= MAX_RUNS:
        raise BadInputError(f"has {len(call_ids):,} runs; compare {MIN_RUNS} to {MAX_RUNS} runs", "call_ids")
    for position, call_id in enumerate(call_ids):
        check_call_id(call_id, f"call_ids.{position}")
        if call_id in call_ids[:position]:
            raise BadInputError(f"{call_id[:64]} is repeated; list each run once", f"call_ids.{position}")
