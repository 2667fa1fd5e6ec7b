"""Sums over a project's documents, read from an index alone."""

from collections.abc import Mapping, Sequence

from stores.database import Collection
from stores.database.error_translation import translate_index_build_error
from stores.database.snapshot_reads import SNAPSHOT


async def sum_each(
    collection: Collection, match: Mapping[str, object], project_ids: Sequence[str], path: str
) -> dict[str, int]:
    """For each of some projects the sum of a number over its documents that match, 0 where there are none; one command.

    An index that begins with `project_id` and what is matched, and has the path in it, is all that is read.

    Raises:
        UnavailableError: an index was made at this very moment.
    """
    group: dict[str, object] = {"_id": "$project_id", "sum": {"$sum": f"${path}"}}
    stages: list[dict[str, object]] = [
        {"$match": {"project_id": {"$in": list(project_ids)}, **match}},
        {"$group": group},
    ]
    # Otherwise what changes its place in the index meanwhile is counted twice, or not at all.
    steady = collection.with_options(read_concern=SNAPSHOT)
    with translate_index_build_error():
        found = steady.aggregate(stages, batchSize=len(project_ids) + 1)
        return dict.fromkeys(project_ids, 0) | {row["_id"]: row["sum"] async for row in found}
