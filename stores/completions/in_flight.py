"""Leases of the completions in flight: if a process dies, another ends its calls.

    _id                  completions:, the project id and the call id
    holder, held_until   the process, and the end of its lease (`stores.database.leases`)

A process that was only suspended ends its calls later with their real results; the later end of a call wins.
"""

import asyncio
from contextlib import suppress
from typing import Final

from pymongo.errors import PyMongoError

from stores import times
from stores.calls import CallEnd
from stores.calls.writes import end_if_running
from stores.database import Database
from stores.database.leases import EXPIRED, LEASE_SECONDS, lease_fields, new_holder
from stores.errors import StoreError

SERVER_STOPPED: Final = "The server stopped before the response was complete. Retry the request."

_PREFIX: Final = "completions:"
_MAX_FOUND: Final = 1000


class InFlightCalls:
    """The calls that this process has in flight; it renews their leases while there are any."""

    def __init__(self, database: Database, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._holder = new_holder()
        self._lease_ids: set[str] = set()
        self._renew_task: asyncio.Task[None] | None = None

    async def add(self, key: str) -> None:
        """Acquire the lease of a call, before the call is stored.

        Raises:
            UnavailableError: the database is unreachable.
        """
        lease_id = f"{_PREFIX}{key}"
        self._lease_ids.add(lease_id)
        self._renew_task = self._renew_task or asyncio.create_task(self._renew())
        update = [{"$set": lease_fields(self._holder, self._lease_seconds)}]
        await self._database.run(self._database.leases.update_one({"_id": lease_id}, update, upsert=True))

    def abandon(self, key: str) -> None:
        """Stop renewing the lease of a call, so that another process ends it if it still runs."""
        self._lease_ids.discard(f"{_PREFIX}{key}")
        if not self._lease_ids and self._renew_task:
            self._renew_task.cancel()
            self._renew_task = None

    async def remove(self, key: str) -> None:
        """Delete the lease of a call that has ended; if that fails, another process deletes it later."""
        self.abandon(key)
        with suppress(StoreError, PyMongoError):
            await self._database.run(self._database.leases.delete_one({"_id": f"{_PREFIX}{key}"}))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            match = {"_id": {"$in": list(self._lease_ids)}, "holder": self._holder}
            update = [{"$set": lease_fields(self._holder, self._lease_seconds)}]
            with suppress(StoreError, PyMongoError):
                await self._database.run(self._database.leases.update_many(match, update))


async def find_abandoned(database: Database) -> list[str]:
    """Return the ids of expired leases, whose calls may still be marked as running."""
    cursor = database.leases.find({"_id": {"$regex": f"^{_PREFIX}"}, **EXPIRED}, {"_id": 1}, limit=_MAX_FOUND)
    return [lease["_id"] async for lease in cursor]


async def end_abandoned(database: Database, lease_id: str) -> None:
    """End the call of an expired lease if it still runs, and delete the lease."""
    match = {"_id": lease_id, **EXPIRED}
    if await database.leases.find_one(match):
        project_id, _, call_id = lease_id.removeprefix(_PREFIX).partition(":")
        await end_if_running(
            database, CallEnd(project_id, call_id, times.now(), {}, SERVER_STOPPED, {"error": SERVER_STOPPED})
        )
        await database.leases.delete_one(match)
