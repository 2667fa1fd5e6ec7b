"""Metrics of runs: the mean of each number in the scores, and its change from one run to another."""

import math
from collections.abc import Sequence
from typing import Any, Final

from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database
from stores.errors import BadInputError
from stores.evaluations.logged_runs import BATCH, predictions_of
from stores.evaluations.scores import MAX_NAMES, check_names, numbers_in_scores, plain_name
from stores.paging import Row

Stages = list[dict[str, Any]]

MAX_NUMBERS: Final = 500_000
"""Limit on the metrics of one response per example, run and name."""

_STATISTICS: Final = {"mean": {"$avg": "$n.number"}, "min": {"$min": "$n.number"}, "max": {"$max": "$n.number"}}
_ALL_BOOLEANS: Final = {"$min": "$n.is_boolean"}


async def find_metrics(
    database: Database, project_id: str, run_ids: Sequence[str], argument: str
) -> dict[str, list[Row]]:
    """Return the metrics of each run: `name`, `mean`, `min`, `max`, `count` and `true_count`.

    `true_count` is None unless all values are booleans.

    Raises:
        BadInputError: the runs have too many different metrics.
    """
    stages: Stages = [
        *_numbers(project_id, run_ids),
        {
            "$group": {
                "_id": {"run": "$parent_id", "name": "$n.name"},
                "count": {"$sum": 1},
                "sum": {"$sum": "$n.number"},
                "is_boolean": _ALL_BOOLEANS,
                **_STATISTICS,
            }
        },
        {"$sort": {"_id": 1}},
        {"$limit": MAX_NAMES * len(run_ids) + 1},
    ]
    documents = await database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH).to_list(None)
    check_names(math.ceil(len(documents) / len(run_ids)), argument)
    rows: dict[str, list[Row]] = {run_id: [] for run_id in run_ids}
    for row in documents:
        rows[row["_id"]["run"]].append(_metric(row))
    return rows


async def count_changes(
    database: Database, project_id: str, run_ids: Sequence[str], argument: str
) -> dict[tuple[str, str], Row]:
    """Compare each run with the first, metric by metric, over the examples that both have.

    Keys are run id and metric name. Each example counts once in `num_higher`, `num_lower` or `num_equal`, by its mean
    over the trials. `mean_change` is the mean of the differences to the first run.

    Raises:
        BadInputError: the runs have too many different metrics.
    """
    first, *others = run_ids
    stages = [*_example_changes(project_id, first, others), {"$limit": MAX_NAMES * len(others) + 1}]
    documents = await database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH).to_list(None)
    check_names(math.ceil(len(documents) / len(others)), argument)
    return {(row["_id"]["run"], plain_name(row["_id"]["name"])): _finite(row, "mean_change") for row in documents}


def _example_changes(project_id: str, first: str, others: Sequence[str]) -> Stages:
    """Build the pipeline that returns one document for each run in `others` and each metric."""
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
    """Return all metrics of the runs by `name`, each with `runs`: its values in the runs that have it.

    `runs` keeps the order of `run_ids`. Each entry has its `run_id`. Entries of other runs than the first also have the
    `difference` of the means and the fields of `count_changes`.

    Raises:
        BadInputError: the runs have too many different metrics.
    """
    metrics = await find_metrics(database, project_id, run_ids, "call_ids")
    changes = await count_changes(database, project_id, run_ids, "call_ids")
    first = {row["name"]: row["mean"] for row in metrics[run_ids[0]]}
    by_name: dict[str, list[Row]] = {}
    for run_id in run_ids:
        for row in metrics[run_id]:
            compared = row | {"run_id": run_id}
            if run_id != run_ids[0]:
                difference = {"difference": _difference(row["mean"], first.get(row["name"]))}
                compared |= _finite(difference, "difference") | changes.get((run_id, row["name"]), {})
            by_name.setdefault(row["name"], []).append(compared)
    return [{"name": name, "runs": by_name[name]} for name in sorted(by_name)]


async def find_changes(
    database: Database, project_id: str, run_ids: Sequence[str], digests: Sequence[str], limit: int = MAX_NUMBERS
) -> dict[str, list[list[Row]]]:
    """Return, by example digest, the metrics of each run: `name`, `mean`, and `difference` to the first run.

    Raises:
        BadInputError: there are more than `limit` metrics.
    """
    by_example = {"name": "$n.name", "example": "$example_digest", "run": "$parent_id"}
    stages: Stages = [
        *_numbers(project_id, run_ids, digests),
        {"$group": {"_id": by_example, "mean": {"$avg": "$n.number"}}},
        {"$limit": limit + 1},
    ]
    count = 0
    means: dict[tuple[str, str], dict[str, float]] = {}
    async for row in cooperative_async(database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)):
        key = row["_id"]["example"], row["_id"]["run"]
        means.setdefault(key, {})[plain_name(row["_id"]["name"])] = row["mean"]
        count += 1
        if count > limit:
            raise BadInputError(
                f"has more than {limit:,} metrics, the limit of one response; request fewer rows", "first"
            )
    changes = {}
    async for digest in cooperative(digests):
        first, *others = (means.get((digest, run_id), {}) for run_id in run_ids)
        changes[digest] = [_changes(first, {}), *(_changes(each, first) for each in others)]
    return changes


def _changes(means: dict[str, float], first: dict[str, float]) -> list[Row]:
    rows = []
    for name in sorted(means):
        difference = _difference(means[name], first.get(name))
        rows.append(_finite({"name": name, "mean": means[name], "difference": difference}, "mean", "difference"))
    return rows


def _difference(mean: float | None, first: float | None) -> float | None:
    return None if mean is None or first is None else mean - first


def _numbers(project_id: str, run_ids: Sequence[str], digests: Sequence[str] | None = None) -> Stages:
    """Build the stages that output each number in the scores as `n`, one document per number."""
    return [
        {"$match": predictions_of(project_id, run_ids, digests)},
        {"$project": {"_id": 0, "parent_id": 1, "example_digest": 1, "n": numbers_in_scores()}},
        {"$unwind": "$n"},
    ]


def _metric(row: Row) -> Row:
    true_count = int(row["sum"]) if row["is_boolean"] else None
    return _finite(row, "mean", "min", "max") | {"name": plain_name(row["_id"]["name"]), "true_count": true_count}


def _finite(row: Row, *names: str) -> Row:
    """Replace values beyond the range of a double by None; integers of hundreds of digits cause them."""
    for name in names:
        if row[name] is not None and not math.isfinite(row[name]):
            row[name] = None
    return row
