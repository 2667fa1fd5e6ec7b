"""Comparison of runs: their rows joined by example digest, across datasets."""

from collections.abc import Sequence
from typing import Any, Final

from stores.errors import BadInputError
from stores.evaluations.results import RowListQuery, matching_predictions, order_by, sort_numbers
from stores.evaluations.scores import number_at
from stores.ids import check_call_id
from stores.query.sort import SortBy
from stores.query.value_expressions import Expression

MIN_RUNS: Final = 2
MAX_RUNS: Final = 10

Stages = list[dict[str, Any]]


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


def joined_rows(
    project_id: str, run_ids: Sequence[str], sort_by: Sequence[SortBy] | None = None, *, only_common: bool = True
) -> RowListQuery:
    """Compile the list query over the examples of several runs; a row's `id` is the example digest.

    With `only_common` it returns only examples that all runs have. A sort by a number sorts by its change: the mean in
    the last run minus the mean in the first.

    Raises:
        BadInputError: the sort is invalid.
    """
    numbers = sort_numbers(sort_by or ())
    means = {
        f"{path}_{side}": {"$avg": {"$cond": [{"$eq": ["$parent_id", {"$literal": run_id}]}, number_at(access), None]}}
        for path, access in numbers.values()
        for side, run_id in (("first", run_ids[0]), ("last", run_ids[-1]))
    }
    changes = {path: _change(path) for path, _ in numbers.values()}
    source: Stages = [
        *matching_predictions(project_id, run_ids, means=numbers),
        {
            "$group": {
                "_id": "$example_digest",
                "id": {"$first": "$example_digest"},
                "started_at": {"$min": "$started_at"},
                "runs": {"$addToSet": "$parent_id"},
                **means,
            }
        },
        *([{"$match": {"runs": {"$size": len(run_ids)}}}] if only_common else ()),
        *([{"$set": changes}] if changes else ()),
    ]
    return RowListQuery(source, order_by(sort_by, {name: path for name, (path, _) in numbers.items()}))


def _change(path: str) -> Expression:
    return {"$subtract": [f"${path}_last", f"${path}_first"]}
