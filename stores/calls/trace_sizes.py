"""Sizes of traces: what their visible calls' JSON takes, summed.

They are read from an index alone, at one moment: what changes its place there meanwhile would count twice.
"""

from collections.abc import Sequence
from typing import Any

from stores.calls.fields import TOTAL_STORAGE_SIZE
from stores.database import Collection
from stores.database.error_translation import translate_index_build_error
from stores.database.snapshot_reads import SNAPSHOT
from stores.database.transactions import Session
from stores.paging import Row

_SUM = {"$sum": "$storage_size_bytes"}


async def add_total_sizes(calls: Collection, project_id: str, rows: Sequence[Row]) -> None:
    """Add the size of its trace to each row that is a root; one command for all. Rows hold trace_id and parent_id."""
    roots = [row for row in rows if row.get("parent_id") is None]
    traces = list({row["trace_id"] for row in roots})
    if not traces:
        return
    match = {"project_id": project_id, "visible": True, "trace_id": {"$in": traces}}
    grouped: list[dict[str, Any]] = [{"$match": match}, {"$group": {"_id": "$trace_id", "size": _SUM}}]
    steady = calls.with_options(read_concern=SNAPSHOT)
    with translate_index_build_error():
        groups = steady.aggregate(grouped, batchSize=len(traces) + 1)
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
    """The sum, over the roots among the calls that some stages find (the first `limit`), of their traces' sizes."""
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
    steady = calls.with_options(read_concern=SNAPSHOT)
    with translate_index_build_error():
        groups = await steady.aggregate(pipeline, session=session, allowDiskUse=True).to_list(1)
    return groups[0]["size"] if groups else 0
