"""Files that are there already when they are stored again: they must not go before what refers to them is stored."""

from collections.abc import Iterable
from typing import Final

from stores import times
from stores.database import Database, Document

TOUCHED_SECONDS: Final = 3_600
"""What was stored or asked for so lately is not touched again; nothing goes so soon (`stores.retention`)."""

_FIELDS: Final = {"_id": 0, "digest": 1, "created_at": 1, "touched_at": 1}


def stored_before(moment: int) -> dict[str, object]:
    """The match of files that were last stored or asked for before a time, in microseconds since the epoch."""
    return {"created_at": {"$lt": moment}, "$or": [{"touched_at": None}, {"touched_at": {"$lt": moment}}]}


async def touch_existing(database: Database, project_id: str, digests: Iterable[str]) -> set[str]:
    """The digests of those files that are there, and stay for a day at least."""
    match = {"project_id": project_id, "digest": {"$in": list(digests)}}
    now = times.now()
    stale_since = now - TOUCHED_SECONDS * times.SECOND
    # In one read: what went between two of them would be taken for there and fresh.
    found = await database.files.find(match, _FIELDS).to_list(None)
    if all(_last_stored(file) >= stale_since for file in found):
        return {file["digest"] for file in found}
    await database.files.update_many({**match, **stored_before(stale_since)}, {"$set": {"touched_at": now}})
    return set(await database.files.distinct("digest", match))


def _last_stored(file: Document) -> int:
    """When a file was last stored or asked for."""
    return max(int(file["created_at"]), int(file.get("touched_at") or 0))
