"""Metrics: of each number in the scores of runs its mean, and how it compares, example by example, with another run."""

import math
from collections.abc import Sequence
from typing import Any, Final

from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database
from stores.errors import BadInputError
from stores.evaluations.logged_runs import BATCH, predictions_of
from stores.evaluations.scores import MAX_NAMES, check_names, flattened, plain_name
from stores.paging import Row

Stages = list[dict[str, Any]]

MAX_NUMBERS: Final = 500_000
"""In one answer about examples one by one, each counted once for each run."""

_KNOWN: Final = {"mean": {"$avg": "$n.number"}, "min": {"$min": "$n.number"}, "max": {"$max": "$n.number"}}
_ALL_TRUTHS: Final = {"$min": "$n.is_truth"}


async def find_metrics(
    database: Database, project_id: str, run_ids: Sequence[str], argument: str
) -> dict[str, list[Row]]:
    """Of each run its metrics by name: `mean`, `min`, `max`, `count`, and `true_count` where all are truths.

    Raises:
        BadInputError: the runs have too many different ones.
    """
    stages: Stages = [
        *_numbers(project_id, run_ids),
        {
            "$group": {
                "_id": {"run": "$parent_id", "name": "$n.name"},
                "count": {"$sum": 1},
                "sum": {"$sum": "$n.number"},
                "is_truth": _ALL_TRUTHS,
                **_KNOWN,
            }
        },
        {"$sort": {"_id": 1}},
        {"$limit": MAX_NAMES * len(run_ids) + 1},
    ]
    found = await database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH).to_list(None)
    check_names(math.ceil(len(found) / len(run_ids)), argument)
    rows: dict[str, list[Row]] = {run_id: [] for run_id in run_ids}
    for row in found:
        rows[row["_id"]["run"]].append(_metric(row))
    return rows


async def count_changes(
    database: Database, project_id: str, run_ids: Sequence[str], argument: str
) -> dict[tuple[str, str], Row]:
    """For each run but the first, and each metric by name, how its examples compare with those of the first.

    Each example counts once in `num_higher`, `num_lower` or `num_equal`, by the mean over its trials, where both runs
    have the number; `mean_change` is the mean of what it is higher.

    Raises:
        BadInputError: the runs have too many different metrics.
    """
    first, *others = run_ids
    stages = [*_example_changes(project_id, first, others), {"$limit": MAX_NAMES * len(others) + 1}]
    found = await database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH).to_list(None)
    check_names(math.ceil(len(found) / len(others)), argument)
    return {(row["_id"]["run"], plain_name(row["_id"]["name"])): _finite(row, "mean_change") for row in found}


def _example_changes(project_id: str, first: str, others: Sequence[str]) -> Stages:
    """A document for each of the other runs and each metric: how its examples compare with those of the first."""
    change = {"$subtract": ["$mean", "$first"]}
    return [
        *_numbers(project_id, [first, *others]),
        {
            "$group": {
                "_id": {"name": "$n.name", "example": "$example_digest", "run": "$parent_id"},
                "mean": {"$avg": "$n.number"},
            }
        },
        {
            "$group": {
                "_id": {"name": "$_id.name", "example": "$_id.example"},
                "first": {"$max": {"$cond": [{"$eq": ["$_id.run", {"$literal": first}]}, "$mean", None]}},
                "runs": {"$push": {"run": "$_id.run", "mean": "$mean"}},
            }
        },
        {"$match": {"first": {"$ne": None}}},
        {"$unwind": "$runs"},
        {"$match": {"runs.run": {"$in": others}}},
        {"$set": {"mean": "$runs.mean"}},
        {
            "$group": {
                "_id": {"run": "$runs.run", "name": "$_id.name"},
                "mean_change": {"$avg": change},
                **{
                    counted: {"$sum": {"$cond": [{operator: ["$mean", "$first"]}, 1, 0]}}
                    for counted, operator in (("num_higher", "$gt"), ("num_lower", "$lt"), ("num_equal", "$eq"))
                },
            }
        },
    ]


async def compare_metrics(database: Database, project_id: str, run_ids: Sequence[str]) -> list[Row]:
    """All metrics of some runs by `name`, and under `runs` those of each run that has it, in the runs' order.

    Each has its `run_id` and, but for the first run, the `difference` of its mean to the first run's, with what
    `count_changes` tells of the examples.

    Raises:
        BadInputError: the runs have too many different ones.
    """
    found = await find_metrics(database, project_id, run_ids, "call_ids")
    changes = await count_changes(database, project_id, run_ids, "call_ids")
    first = {row["name"]: row["mean"] for row in found[run_ids[0]]}
    by_name: dict[str, list[Row]] = {}
    for run_id in run_ids:
        for row in found[run_id]:
            compared = row | {"run_id": run_id}
            if run_id != run_ids[0]:
                difference = {"difference": _difference(row["mean"], first.get(row["name"]))}
                compared |= _finite(difference, "difference") | changes.get((run_id, row["name"]), {})
            by_name.setdefault(row["name"], []).append(compared)
    return [{"name": name, "runs": by_name[name]} for name in sorted(by_name)]


async def find_changes(
    database: Database, project_id: str, run_ids: Sequence[str], digests: Sequence[str], most: int = MAX_NUMBERS
) -> dict[str, list[list[Row]]]:
    """For each example, by its digest, what each run has of its numbers: `name`, `mean`, `difference` to the first.

    Raises:
        BadInputError: there are more than one answer has.
    """
    by_example = {"name": "$n.name", "example": "$example_digest", "run": "$parent_id"}
    stages: Stages = [
        *_numbers(project_id, run_ids, digests),
        {"$group": {"_id": by_example, "mean": {"$avg": "$n.number"}}},
        {"$limit": most + 1},
    ]
    count = 0
    means: dict[tuple[str, str], dict[str, float]] = {}
    async for row in cooperative_async(database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)):
        key = row["_id"]["example"], row["_id"]["run"]
        means.setdefault(key, {})[plain_name(row["_id"]["name"])] = row["mean"]
        count += 1
        if count > most:
            raise BadInputError(f"has more than {most:,} metrics, the limit of one answer; ask for fewer rows", "first")
    found = {}
    async for digest in cooperative(digests):
        first, *others = (means.get((digest, run_id), {}) for run_id in run_ids)
        found[digest] = [_changes(first, {}), *(_changes(each, first) for each in others)]
    return found


def _changes(means: dict[str, float], first: dict[str, float]) -> list[Row]:
    found = []
    for name in sorted(means):
        difference = _difference(means[name], first.get(name))
        found.append(_finite({"name": name, "mean": means[name], "difference": difference}, "mean", "difference"))
    return found


def _difference(mean: float | None, first: float | None) -> float | None:
    return None if mean is None or first is None else mean - first


def _numbers(project_id: str, run_ids: Sequence[str], digests: Sequence[str] | None = None) -> Stages:
    """The stages that find each number in the scores of some runs, of all examples or of some, as `n`."""
    return [
        {"$match": predictions_of(project_id, run_ids, digests)},
        {"$project": {"_id": 0, "parent_id": 1, "example_digest": 1, "n": flattened()}},
        {"$unwind": "$n"},
    ]


def _metric(row: Row) -> Row:
    true_count = int(row["sum"]) if row["is_truth"] else None
    return _finite(row, "mean", "min", "max") | {"name": plain_name(row["_id"]["name"]), "true_count": true_count}


def _finite(row: Row, *names: str) -> Row:
    """The row, in which what is beyond a double's range is none: integers of a hundred digits are."""
    for name in names:
        if row[name] is not None and not math.isfinite(row[name]):
            row[name] = None
    return row
