"""Files that are there already when they are stored again: they must not go before what refers to them is stored."""

from collections.abc import Iterable
from typing import Final

from stores import times
from stores.database import Database

TOUCHED_SECONDS: Final = 3_600
"""What was stored or asked for so lately is not touched again; nothing goes so soon (`stores.retention`)."""


def stored_before(moment: int) -> dict[str, object]:
    """The match of files that were last stored or asked for before a time, in microseconds since the epoch."""
    return {"created_at": {"$lt": moment}, "$or": [{"touched_at": None}, {"touched_at": {"$lt": moment}}]}


async def kept_of(database: Database, project_id: str, digests: Iterable[str]) -> set[str]:
    """The digests of those files that are there, and stay for a day at least."""
    match = {"project_id": project_id, "digest": {"$in": list(digests)}}
    found = await database.files.distinct("digest", match)
    if not found:
        return set()
    now = times.now()
    stale = {**match, **stored_before(now - TOUCHED_SECONDS * 1_000_000)}
    if not await database.files.find_one(stale, {"_id": 1}):
        return set(found)
    await database.files.update_many(stale, {"$set": {"touched_at": now}})
    return set(await database.files.distinct("digest", match))
