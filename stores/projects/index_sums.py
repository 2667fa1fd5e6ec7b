"""Sums over a project's documents as covered queries."""

from collections.abc import Mapping, Sequence

from stores.database import Collection
from stores.database.error_translation import translate_index_build_error
from stores.database.reads import SNAPSHOT


async def sum_each(
    collection: Collection, match: Mapping[str, object], project_ids: Sequence[str], path: str
) -> dict[str, int]:
    """Return per project the sum of `path` over its matching documents, 0 without any; one command for all.

    It reads only an index that starts with `project_id` and the matched fields and includes `path`.

    Raises:
        UnavailableError: if MongoDB builds an index at this moment.
    """
    group: dict[str, object] = {"_id": "$project_id", "sum": {"$sum": f"${path}"}}
    stages: list[dict[str, object]] = [
        {"$match": {"project_id": {"$in": list(project_ids)}, **match}},
        {"$group": group},
    ]
    # Without a snapshot, an entry that moves within the index is counted twice or not at all.
    snapshot = collection.with_options(read_concern=SNAPSHOT)
    with translate_index_build_error():
        cursor = snapshot.aggregate(stages, batchSize=len(project_ids) + 1)
        return dict.fromkeys(project_ids, 0) | {row["_id"]: row["sum"] async for row in cursor}
