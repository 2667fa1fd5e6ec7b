"""Touch of existing files that are stored again, so that retention keeps them until a ref to them exists."""

from collections.abc import Iterable
from typing import Final

from stores import times
from stores.database import Database, Document

TOUCHED_SECONDS: Final = 3_600
"""Time after a store or touch in which a file is not touched again; retention deletes no file so recent."""

_FIELDS: Final = {"_id": 0, "digest": 1, "created_at": 1, "touched_at": 1}


def stored_before(timestamp: int) -> dict[str, object]:
    """Build the filter of files last stored or touched before a time in microseconds since the epoch."""
    return {"created_at": {"$lt": timestamp}, "$or": [{"touched_at": None}, {"touched_at": {"$lt": timestamp}}]}


async def touch_existing(database: Database, project_id: str, digests: Iterable[str]) -> set[str]:
    """Return the digests of the files that exist, which retention then keeps for at least a day."""
    match = {"project_id": project_id, "digest": {"$in": list(digests)}}
    now = times.now()
    stale_since = now - TOUCHED_SECONDS * times.SECOND
    # One read: a file deleted between two reads would count as existing and fresh.
    files = await database.files.find(match, _FIELDS).to_list(None)
    if all(_last_stored(file) >= stale_since for file in files):
        return {file["digest"] for file in files}
    await database.files.update_many({**match, **stored_before(stale_since)}, {"$set": {"touched_at": now}})
    return set(await database.files.distinct("digest", match))


def _last_stored(file: Document) -> int:
    """Return when a file was last stored or touched."""
    return max(int(file["created_at"]), int(file.get("touched_at") or 0))
