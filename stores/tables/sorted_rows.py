"""Rows of a table sorted by content, which reads all rows."""

from collections.abc import Sequence
from typing import Any

from stores.database import Database, content_store
from stores.paging import Order, Page, PageRequest, find_page
from stores.tables.layout import Layout, table_match

Pipeline = list[dict[str, Any]]


async def sorted_page(
    database: Database,
    layout: Layout,
    match: dict[str, Any],
    members: frozenset[str] | None,
    order: Order,
    request: PageRequest,
    paths: Sequence[str],
) -> Page:
    """Return a sorted page of the matching rows whose digest is in `members` (None: any); `id` is the position.

    Raises:
        BadInputError: the cursor does not belong to this list.
    """
    source = _rows_of(database, layout, members)
    return await find_page(database.tables, match, order, request, paths, source)


def _rows_of(database: Database, layout: Layout, members: frozenset[str] | None) -> Pipeline:
    """Build the pipeline of a table's row documents, one per position, which is the `id`."""
    chosen = [{"$match": {"row_digest": {"$in": sorted(members)}}}] if members else []
    return [
        {"$match": table_match(layout.project_id, layout.digest)},
        {"$unwind": {"path": "$chunks", "includeArrayIndex": "number"}},
        {"$project": {"start": {"$arrayElemAt": ["$starts", "$number"]}, "key": _key(layout, "$chunks")}},
        *_join(database.table_chunks.name, "chunk"),
        {"$unwind": {"path": "$chunk.row_digests", "includeArrayIndex": "at"}},
        {"$project": {"id": {"$add": ["$start", "$at"]}, "row_digest": "$chunk.row_digests"}},
        *chosen,
        {"$project": {"id": 1, "key": _key(layout, "$row_digest")}},
        *_join(database.table_rows.name, "row"),
        {"$replaceWith": {"$mergeObjects": ["$row", {"id": "$id"}]}},
    ]


def _key(layout: Layout, digest: str) -> dict[str, Any]:
    return {"$concat": [{"$literal": content_store.key(layout.project_id, "")}, digest]}


def _join(collection: str, name: str) -> Pipeline:
    by_key = {"from": collection, "localField": "key", "foreignField": "_id", "as": name}
    return [{"$lookup": by_key}, {"$unwind": f"${name}"}]
