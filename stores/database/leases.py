"""Leases: what only one process does at a time, whoever of them; the lease of one that died runs out."""

import uuid
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from stores.database import Collection

LEASE_SECONDS: Final = 15.0
"""What a step takes at most on a slow database; who is dead holds up the others for as long."""

_Document = dict[str, Any]


def new_holder() -> str:
    """A name for one who holds leases."""
    return uuid.uuid4().hex


def available_to(holder: str) -> _Document:
    """The match of documents that nobody else holds."""
    is_over = {"$lte": [{"$ifNull": ["$held_until", None]}, "$$NOW"]}
    return {"$or": [{"holder": holder}, {"$expr": is_over}]}


def lease_update(holder: str, seconds: float = LEASE_SECONDS) -> _Document:
    """What a pipeline sets for whoever holds a document from now on; for 0 seconds it is free."""
    return {"holder": holder, "held_until": {"$add": ["$$NOW", int(seconds * 1000)]}}


class Lease:
    """The lease of one piece of work, as one process tries for it."""

    def __init__(self, leases: Collection, work: str, seconds: float = LEASE_SECONDS) -> None:
        self._leases = leases
        self._work = work
        self._seconds = seconds
        self._holder = new_holder()

    async def acquire(self) -> bool:
        """Have the lease from now on; False where another has it."""
        if await self._take():
            return True
        try:
            await self._leases.insert_one({"_id": self._work})
        except DuplicateKeyError:  # it is there, and another's
            return False
        return await self._take()

    async def _take(self) -> bool:
        match = {"_id": self._work, **available_to(self._holder)}
        done = await self._leases.update_one(match, [{"$set": lease_update(self._holder, self._seconds)}])
        return done.matched_count == 1

    async def release(self) -> None:
        """Give it back, if it is ours."""
        await self._leases.update_one({"_id": self._work, "holder": self._holder}, {"$unset": {"held_until": ""}})
