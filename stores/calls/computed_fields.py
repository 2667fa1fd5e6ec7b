"""Fields of call rows that are computed at read time: trace sizes, and the prices of used models.

The size of a trace is the sum of the JSON bytes of its visible calls. It comes from an index alone and from one
snapshot; otherwise a call that moves within the index counts twice.
"""

from collections import abc
from collections.abc import Sequence
from typing import Any, Final

from stores.calls.fields import COMPUTED_FIELDS, PRICED_FIELDS, PRICES, TOTAL_STORAGE_SIZE, calls_match, paths_of
from stores.costs.store import prices_of_models
from stores.database import Collection, Database
from stores.database.indexes import index_by
from stores.database.scan_order import index_hint, scan_hint
from stores.database.transactions import Session
from stores.document_list import Key, find_by_keys
from stores.ids import group_by_project
from stores.paging import Row
from stores.relations import sum_each

_BATCH: Final = 1_000
_BY_TRACE: Final = index_by("calls", "project_id", "visible", "trace_id")


async def add_computed_fields(
    database: Database, project_id: str, rows: Sequence[Row], wanted: abc.Collection[str]
) -> None:
    """Add the computed fields that the selected fields need to rows of one project; one command per kind."""
    if TOTAL_STORAGE_SIZE in wanted:
        await add_total_sizes(database.calls, project_id, rows)
    with_usage = [] if PRICED_FIELDS.isdisjoint(wanted) else [row for row in rows if row.get("usage")]
    if with_usage:
        models = {entry["model"] for row in with_usage for entry in row["usage"]}
        prices = await prices_of_models(database, project_id, models)
        for row in with_usage:
            row[PRICES] = prices


async def add_total_sizes(calls: Collection, project_id: str, rows: Sequence[Row]) -> None:
    """Add its trace's size to each root row, with one command; rows contain trace_id and parent_id."""
    roots = [row for row in rows if row.get("parent_id") is None]
    traces = list({row["trace_id"] for row in roots})
    if not traces:
        return
    sizes = await sum_each(calls, "trace_id", traces, calls_match(project_id), "storage_size_bytes")
    for row in roots:
        row[TOTAL_STORAGE_SIZE] = sizes[row["trace_id"]]


async def total_size(
    calls: Collection,
    project_id: str,
    stages: Sequence[dict[str, Any]],
    limit: int | None,
    session: Session,
) -> int:
    """Sum the trace sizes of the roots among the calls of some stages, or among the first `limit` of them.

    It adds up the sizes of batches of traces. With `$lookup`, a shard of a cluster would send a command to each shard
    for each trace.
    """
    pipeline: list[dict[str, Any]] = [*stages]
    if limit:
        pipeline.append({"$limit": limit})
    pipeline += [{"$match": {"parent_id": None}}, {"$group": {"_id": "$trace_id", "roots": {"$sum": 1}}}]
    hint, by_trace = await scan_hint(calls, pipeline), index_hint(calls, _BY_TRACE)
    match, size = calls_match(project_id), 0
    async with calls.aggregate(pipeline, session=session, allowDiskUse=True, batchSize=_BATCH, **hint) as traces:
        while rows := await traces.to_list(_BATCH):
            roots = {row["_id"]: row["roots"] for row in rows}
            sizes = await sum_each(
                calls, "trace_id", [*roots], match, "storage_size_bytes", session=session, **by_trace
            )
            size += sum(number * sizes[trace_id] for trace_id, number in roots.items())
    return size


async def calls_by_keys(database: Database, keys: Sequence[Key], wanted: abc.Collection[str]) -> dict[Key, Row | None]:
    """Return the selected fields of each call, or None if no such call is visible."""
    found = await find_by_keys(database.calls, keys, paths_of(wanted), {"visible": True})
    if not COMPUTED_FIELDS.isdisjoint(wanted):
        for project_id, call_ids in group_by_project(keys):
            rows = [row for call_id in call_ids if (row := found[project_id, call_id])]
            await add_computed_fields(database, project_id, rows, wanted)
    return found
