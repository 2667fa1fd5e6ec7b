"""Leases: work that one process does at a time. The lease of a dead process expires."""

import uuid
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from stores.database import Collection

LEASE_SECONDS: Final = 15.0
"""Duration of a lease, longer than a step on a slow database; a dead holder blocks others for this long."""

_Document = dict[str, Any]


def new_holder() -> str:
    """Create a random id for a lease holder."""
    return uuid.uuid4().hex


def available_to(holder: str) -> _Document:
    """Return the match for documents whose lease is expired or belongs to `holder`."""
    is_expired = {"$lte": [{"$ifNull": ["$held_until", None]}, "$$NOW"]}
    return {"$or": [{"holder": holder}, {"$expr": is_expired}]}


def lease_update(holder: str, seconds: float = LEASE_SECONDS) -> _Document:
    """Return the `$set` fields that give `holder` the lease from now on; 0 seconds free it."""
    return {"holder": holder, "held_until": {"$add": ["$$NOW", int(seconds * 1000)]}}


class Lease:
    """The lease on one piece of work, from the view of one process."""

    def __init__(self, leases: Collection, name: str, seconds: float = LEASE_SECONDS) -> None:
        self._leases = leases
        self._name = name
        self._seconds = seconds
        self._holder = new_holder()

    async def acquire(self) -> bool:
        """Acquire or renew the lease; False if another process has it."""
        if await self._try_acquire():
            return True
        try:
            await self._leases.insert_one({"_id": self._name})
        except DuplicateKeyError:  # the document exists, and its lease is another's
            return False
        return await self._try_acquire()

    async def _try_acquire(self) -> bool:
        match = {"_id": self._name, **available_to(self._holder)}
        done = await self._leases.update_one(match, [{"$set": lease_update(self._holder, self._seconds)}])
        return done.matched_count == 1

    async def release(self) -> None:
        """Release the lease if this process has it."""
        await self._leases.update_one({"_id": self._name, "holder": self._holder}, {"$unset": {"held_until": ""}})
