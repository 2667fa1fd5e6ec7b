"""Runs side by side: their rows joined by example, in whichever dataset that is."""

from collections.abc import Sequence
from typing import Any, Final

from stores.errors import BadInputError
from stores.evaluations.results import RowsSearch, chosen, order_by, sorted_numbers
from stores.evaluations.scores import number_at
from stores.ids import check_call_id
from stores.query.sort import SortBy
from stores.query.value_expressions import Expression

MIN_RUNS: Final = 2
MAX_RUNS: Final = 10

Stages = list[dict[str, Any]]


def check_runs(call_ids: Sequence[str]) -> None:
    """Hold which runs are compared to their rules.

    Raises:
        BadInputError: they are fewer than `MIN_RUNS` or more than `MAX_RUNS`, or one is named twice or is no call id.
    """
    if not MIN_RUNS <= len(call_ids) <= MAX_RUNS:
        raise BadInputError(f"has {len(call_ids):,} runs; compare {MIN_RUNS} to {MAX_RUNS} with each other", "call_ids")
    for position, call_id in enumerate(call_ids):
        check_call_id(call_id, f"call_ids.{position}")
        if call_id in call_ids[:position]:
            raise BadInputError(f"{call_id[:64]} is named twice; name each run once", f"call_ids.{position}")


def joined_rows(
    project_id: str, run_ids: Sequence[str], sort_by: Sequence[SortBy] | None = None, *, only_common: bool = True
) -> RowsSearch:
    """The search of the examples of some runs, or of those that all of them have; a row's `id` is the digest.

    A sort by a number is by how much higher its mean is in the last run than in the first.

    Raises:
        BadInputError: the sort breaks a rule.
    """
    numbers = sorted_numbers(sort_by or ())
    means = {
        f"{path}_{side}": {"$avg": {"$cond": [{"$eq": ["$parent_id", {"$literal": run_id}]}, number_at(access), None]}}
        for path, access in numbers.values()
        for side, run_id in (("first", run_ids[0]), ("last", run_ids[-1]))
    }
    changes = {path: _change(path) for path, _ in numbers.values()}
    source: Stages = [
        *chosen(project_id, run_ids, means=numbers),
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
    return RowsSearch(source, order_by(sort_by, {name: path for name, (path, _) in numbers.items()}))


def _change(path: str) -> Expression:
    return {"$subtract": [f"${path}_last", f"${path}_first"]}
