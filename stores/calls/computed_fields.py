"""Fields of call rows that are computed at read time: trace sizes, and the prices of used models.

The size of a trace is the sum of the JSON bytes of its visible calls. It comes from an index alone and from one
snapshot; otherwise a call that moves within the index counts twice.
"""

from asyncio import Future
from collections import abc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stores.calls.fields import PRICED_FIELDS, PRICES, TOTAL_STORAGE_SIZE
from stores.costs.store import prices_of_models, start_reading_costs
from stores.database import Collection, Database, Document
from stores.database.driver import SNAPSHOT
from stores.database.transactions import Session
from stores.paging import Row

Costs = Future[list[Document]]
"""A project's costs, being read."""

_SUM = {"$sum": "$storage_size_bytes"}


@contextmanager
def prefetch_costs(database: Database, project_id: str, wanted: abc.Collection[str]) -> Iterator[Costs | None]:
    """Start to read the project's costs for `add_computed_fields` if a selected field needs them; cancel on exit."""
    if PRICED_FIELDS.isdisjoint(wanted):
        yield None
        return
    costs = start_reading_costs(database, project_id)
    try:
        yield costs
    finally:
        costs.cancel()


async def add_computed_fields(
    database: Database, project_id: str, rows: Sequence[Row], wanted: abc.Collection[str], costs: Costs | None = None
) -> None:
    """Add the computed fields that the selected fields need to rows of one project; one command per kind."""
    if TOTAL_STORAGE_SIZE in wanted:
        await add_total_sizes(database.calls, project_id, rows)
    if not PRICED_FIELDS.isdisjoint(wanted):
        await _add_prices(database, project_id, [row for row in rows if row.get("usage")], costs)


async def _add_prices(database: Database, project_id: str, rows: Sequence[Row], costs: Costs | None) -> None:
    models = {entry["model"] for row in rows for entry in row["usage"]}
    if models:
        prices = await prices_of_models(database, project_id, models, await costs if costs else None)
        for row in rows:
            row[PRICES] = prices


async def add_total_sizes(calls: Collection, project_id: str, rows: Sequence[Row]) -> None:
    """Add its trace's size to each root row, with one command; rows contain trace_id and parent_id."""
    roots = [row for row in rows if row.get("parent_id") is None]
    traces = list({row["trace_id"] for row in roots})
    if not traces:
        return
    match = {"project_id": project_id, "visible": True, "trace_id": {"$in": traces}}
    grouped: list[dict[str, Any]] = [{"$match": match}, {"$group": {"_id": "$trace_id", "size": _SUM}}]
    snapshot_calls = calls.with_options(read_concern=SNAPSHOT)
    groups = snapshot_calls.aggregate(grouped, batchSize=len(traces) + 1)
    sizes = {group["_id"]: group["size"] async for group in groups}
    for row in roots:
        row[TOTAL_STORAGE_SIZE] = sizes.get(row["trace_id"], 0)


async def total_size(
    calls: Collection,
    project_id: str,
    stages: Sequence[dict[str, Any]],
    limit: int | None,
    session: Session | None = None,
) -> int:
    """Sum the trace sizes of the roots among the calls of some stages, or among the first `limit` of them."""
    pipeline: list[dict[str, Any]] = [*stages]
    if limit:
        pipeline.append({"$limit": limit})
    pipeline += [
        {"$match": {"parent_id": None}},
        {"$group": {"_id": "$trace_id", "roots": {"$sum": 1}}},
        {
            "$lookup": {
                "from": calls.name,
                "localField": "_id",
                "foreignField": "trace_id",
                "pipeline": [
                    {"$match": {"project_id": project_id, "visible": True}},
                    {"$group": {"_id": None, "size": _SUM}},
                ],
                "as": "trace",
            }
        },
        {"$unwind": "$trace"},
        {"$group": {"_id": None, "size": {"$sum": {"$multiply": ["$roots", "$trace.size"]}}}},
    ]
    snapshot_calls = calls.with_options(read_concern=SNAPSHOT)
    groups = await snapshot_calls.aggregate(pipeline, session=session, allowDiskUse=True).to_list(1)
    return groups[0]["size"] if groups else 0
