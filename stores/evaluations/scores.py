r"""Scores as numbers: `helpfulness.grade` is that path in a prediction's `output.scores`; true counts as 1.

Names are paths into the scores as clients write them, with `\.` for a dot in a key.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from stores.calls.fields import STATUSES
from stores.concurrency.time_slices import cooperative, cooperative_async
from stores.database import Database, Document
from stores.errors import BadInputError
from stores.evaluations.logged_runs import BATCH, check_response_size, predictions_of
from stores.json import paths
from stores.json.bson_copy import unescape_key
from stores.paging import Row
from stores.query import text_expressions
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.text_expressions import Expression, let_v
from stores.query.value_expressions import path_expression

MAX_DEPTH: Final = 4
"""Limit on the keys of a metric name: the scorer, then keys inside its result."""
MAX_NAMES: Final = 1_000
"""Limit on the different metric names of the runs in one request."""

SCORES: Final = "scores"

_TEXT: Final = "json.output"

OUTPUT: Final = Field("output", "output.output", Kind.JSON, text_path=_TEXT)

PREDICTION_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("started_at", "started_at", Kind.TIME, optional=False),
        Field("ended_at", "ended_at", Kind.TIME),
        Field("status", "status", optional=False, values=STATUSES),
        Field("exception", "exception"),
        Field("latency_ms", "latency_ms", Kind.NUMBER),
        Field("total_tokens", "total_tokens", Kind.NUMBER),
        Field("example", "inputs.example", Kind.JSON, text_path="json.inputs"),
        OUTPUT,
        Field("model_latency", "output.model_latency", Kind.JSON, text_path=_TEXT),
        Field(SCORES, "output.scores", Kind.JSON, text_path=_TEXT),
    ]
)
"""Fields of predictions by which rows are filtered and sorted."""
OUTPUT_BY_EITHER_NAME: Final = {
    "$set": {OUTPUT.path: {"$ifNull": [f"${OUTPUT.path}", "$output.model_output", "$$REMOVE"]}}
}
"""Stage that copies an output stored as `model_output`, the older name, to `output`."""

_HAS_OLDER_NAME: Final = {
    "$and": [
        {"$eq": [{"$type": "$output"}, "object"]},
        {"$lte": [f"${OUTPUT.path}", None]},
        {"$in": [{"$type": "$output.model_output"}, ["object", "array"]]},
    ]
}
_RENAMED: Final = [text_expressions.of_part(f"${_TEXT}", ["model_output"]), ",", {"$substrBytes": [f"${_TEXT}", 1, -1]}]
TEXT_BY_EITHER_NAME: Final = {
    "$set": {_TEXT: {"$cond": [_HAS_OLDER_NAME, {"$concat": ['{"output":', *_RENAMED]}, f"${_TEXT}"]}}
}
"""Stage that renames `model_output` to `output` in the JSON text; it runs before `OUTPUT_BY_EITHER_NAME`."""

_V: Final = "$$v"

Stages = list[dict[str, Any]]

MAX_NUMBERS: Final = 500_000
"""Limit on the metrics of one response per example, run and name."""

_STATISTICS: Final = {
    "count": {"$sum": 1},
    "sum": {"$sum": "$n.number"},
    "is_boolean": {"$min": "$n.is_boolean"},
    **{name: {f"${name}": "$n.number"} for name in ("min", "max")},
    "mean": {"$avg": "$n.number"},
}


def number_at(access: Access) -> Expression:
    """Build the expression of the number at a path: 1 or 0 for a boolean, null for any other value."""
    branches = [
        {"case": {"$isNumber": _V}, "then": _V},
        {"case": {"$eq": [_V, True]}, "then": 1},
        {"case": {"$eq": [_V, False]}, "then": 0},
    ]
    return let_v(path_expression(access), {"$switch": {"branches": branches, "default": None}})


def _numbers_in(value: Expression, name: Expression, depth: int) -> Expression:
    """List the numbers among an object's members and, down to `depth`, in nested objects."""
    member = f"m{depth}"
    key, inner = f"$${member}.k", f"$${member}.v"
    path: Expression = key if name is None else {"$concat": [name, ".", key]}
    of_objects = _numbers_in(inner, path, depth - 1) if depth > 1 else []
    branches = [
        {"case": {"$isNumber": inner}, "then": [{"name": path, "number": inner, "is_boolean": False}]},
        {
            "case": {"$eq": [{"$type": inner}, "bool"]},
            "then": [{"name": path, "number": {"$cond": [inner, 1, 0]}, "is_boolean": True}],
        },
        {"case": {"$eq": [{"$type": inner}, "object"]}, "then": of_objects},
    ]
    each = {"$switch": {"branches": branches, "default": []}}
    members = {"$map": {"input": {"$objectToArray": value}, "as": member, "in": each}}
    lists = {"$reduce": {"input": members, "initialValue": [], "in": {"$concatArrays": ["$$value", "$$this"]}}}
    return {"$cond": [{"$eq": [{"$type": value}, "object"]}, lists, []]}


@lru_cache(MAX_NAMES)
def plain_name(escaped: str) -> str:
    """Return a metric name as clients write it, from its escaped BSON copy."""
    return paths.join(map(unescape_key, escaped.split(".")))


async def _read_by_name(database: Database, stages: Stages, num_runs: int, argument: str) -> list[Document]:
    """Return the documents of a pipeline that outputs one for each run and metric name.

    Raises:
        BadInputError: the runs have more than `MAX_NAMES` different metric names.
    """
    stages = [*stages, {"$limit": MAX_NAMES * num_runs + 1}]
    documents = await database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH).to_list(None)
    if math.ceil(len(documents) / num_runs) > MAX_NAMES:
        raise BadInputError(
            f"the scores have more than {MAX_NAMES:,} different metric names, the limit; read them row by row", argument
        )
    return documents


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
                **_STATISTICS,
            }
        },
        {"$sort": {"_id": 1}},
    ]
    rows: dict[str, list[Row]] = {run_id: [] for run_id in run_ids}
    for row in await _read_by_name(database, stages, len(run_ids), argument):
        rows[row["_id"]["run"]].append(_metric(row))
    return rows


async def _count_changes(database: Database, project_id: str, run_ids: Sequence[str]) -> dict[tuple[str, str], Row]:
    """Compare each run with the first, metric by metric, over the examples that both have.

    Keys are run id and metric name. Each example counts once in `num_higher`, `num_lower` or `num_equal`, by its mean
    over the trials. `mean_change` is the mean of the differences to the first run.

    Raises:
        BadInputError: the runs have too many different metrics.
    """
    first, *others = run_ids
    documents = await _read_by_name(database, _example_changes(project_id, first, others), len(others), "call_ids")
    return {
        (row["_id"]["run"], plain_name(row["_id"]["name"])): row | {"mean_change": _finite(row["mean_change"])}
        for row in documents
    }


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
    `difference` of the means and the fields of `_count_changes`.

    Raises:
        BadInputError: the runs have too many different metrics.
    """
    metrics = await find_metrics(database, project_id, run_ids, "call_ids")
    changes = await _count_changes(database, project_id, run_ids)
    first = {row["name"]: row["mean"] for row in metrics[run_ids[0]]}
    by_name: dict[str, list[Row]] = {}
    for run_id in run_ids:
        for row in metrics[run_id]:
            compared = row | {"run_id": run_id}
            if run_id != run_ids[0]:
                compared["difference"] = _difference(row["mean"], first.get(row["name"]))
                compared |= changes.get((run_id, row["name"]), {})
            by_name.setdefault(row["name"], []).append(compared)
    return [{"name": name, "runs": by_name[name]} for name in sorted(by_name)]


async def find_changes(
    database: Database, project_id: str, run_ids: Sequence[str], digests: Sequence[str]
) -> dict[str, list[list[Row]]]:
    """Return, by example digest, the metrics of each run: `name`, `mean`, and `difference` to the first run.

    Raises:
        BadInputError: there are more than `MAX_NUMBERS` metrics.
    """
    by_example = {"name": "$n.name", "example": "$example_digest", "run": "$parent_id"}
    stages: Stages = [
        *_numbers(project_id, run_ids, digests),
        {"$group": {"_id": by_example, "mean": {"$avg": "$n.number"}}},
        {"$limit": MAX_NUMBERS + 1},
    ]
    count = 0
    means: dict[tuple[str, str], dict[str, float]] = {}
    async for row in cooperative_async(database.calls.aggregate(stages, allowDiskUse=True, batchSize=BATCH)):
        key = row["_id"]["example"], row["_id"]["run"]
        means.setdefault(key, {})[plain_name(row["_id"]["name"])] = row["mean"]
        count += 1
        check_response_size(count, MAX_NUMBERS, "more than {} metrics")
    changes = {}
    async for digest in cooperative(digests):
        first, *others = (means.get((digest, run_id), {}) for run_id in run_ids)
        changes[digest] = [_changes(first, {}), *(_changes(each, first) for each in others)]
    return changes


def _changes(means: dict[str, float], first: dict[str, float]) -> list[Row]:
    return [
        {"name": name, "mean": _finite(mean), "difference": _difference(mean, first.get(name))}
        for name, mean in sorted(means.items())
    ]


def _difference(mean: float | None, first: float | None) -> float | None:
    return None if mean is None or first is None else _finite(mean - first)


def _numbers(project_id: str, run_ids: Sequence[str], digests: Sequence[str] | None = None) -> Stages:
    """Build the stages that output each number in the scores as `n`, one document per number.

    It has the `name` (escaped), the `number` and `is_boolean`.
    """
    scores = {"$cond": [{"$eq": [{"$type": "$output"}, "object"]}, "$output.scores", None]}
    return [
        {"$match": predictions_of(project_id, run_ids, digests)},
        {"$project": {"_id": 0, "parent_id": 1, "example_digest": 1, "n": _numbers_in(scores, None, MAX_DEPTH)}},
        {"$unwind": "$n"},
    ]


def _metric(row: Row) -> Row:
    true_count = int(row["sum"]) if row["is_boolean"] else None
    numbers = {name: _finite(row[name]) for name in ("mean", "min", "max")}
    return row | numbers | {"name": plain_name(row["_id"]["name"]), "true_count": true_count}


def _finite(number: float | None) -> float | None:
    """Return None for a value beyond the range of a double; integers of hundreds of digits cause them."""
    return number if number is not None and math.isfinite(number) else None
