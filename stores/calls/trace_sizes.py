"""Trace sizes: the JSON bytes of a trace's visible calls, summed.

The sums come from an index alone and from one snapshot; otherwise a call that moves within the index counts twice.
"""

from collections.abc import Sequence
from typing import Any

from stores.calls.fields import TOTAL_STORAGE_SIZE
from stores.database import Collection
from stores.database.reads import SNAPSHOT
from stores.database.transactions import Session
from stores.paging import Row

_SUM = {"$sum": "$storage_size_bytes"}


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
