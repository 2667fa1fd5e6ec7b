"""The calls of completions that a process has under way: a lease for each, so that others end it should that die.

    _id                  completions:, the project and the call's id
    holder, held_until   the process, and until when it is taken to be alive (`stores.database.leases`)

A process that was only away for long ends its calls later, by what came of them: of two ends the later counts.
"""

import asyncio
from contextlib import suppress
from typing import Final

from pymongo.errors import PyMongoError

from stores import times
from stores.calls import CallEnd
from stores.calls.writes import end_if_running
from stores.database import Database
from stores.database.leases import LEASE_SECONDS, available_to, lease_update, new_holder
from stores.errors import StoreError

CUT_OFF: Final = "The server was cut off before the answer was whole; what had come of it is lost. Ask again."

_PREFIX: Final = "completions:"
_AT_ONCE: Final = 1000


class InFlightCalls:
    """The calls that this process has under way; as long as there are any it says that it is alive."""

    def __init__(self, database: Database, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._holder = new_holder()
        self._held: set[str] = set()
        self._keeping: asyncio.Task[None] | None = None

    async def add(self, key: str) -> None:
        """Say that a call, by its project and id, is under way; before it is there.

        Raises:
            UnavailableError: the database is away.
        """
        lease_id = f"{_PREFIX}{key}"
        self._held.add(lease_id)
        self._keeping = self._keeping or asyncio.create_task(self._keep())
        said = [{"$set": lease_update(self._holder, self._lease_seconds)}]
        await self._database.run(self._database.leases.update_one({"_id": lease_id}, said, upsert=True))

    def leave(self, key: str) -> None:
        """Leave a call to others, who see a little later whether it runs."""
        self._held.discard(f"{_PREFIX}{key}")
        if not self._held and self._keeping:
            self._keeping.cancel()
            self._keeping = None

    async def remove(self, key: str) -> None:
        """Say that a call has ended; where that fails, others find it out."""
        self.leave(key)
        with suppress(StoreError, PyMongoError):
            await self._database.run(self._database.leases.delete_one({"_id": f"{_PREFIX}{key}"}))

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            own = {"_id": {"$in": list(self._held)}, "holder": self._holder}
            said = [{"$set": lease_update(self._holder, self._lease_seconds)}]
            with suppress(StoreError, PyMongoError):
                await self._database.run(self._database.leases.update_many(own, said))


async def find_abandoned(database: Database) -> list[str]:
    """The calls, by their leases, that nobody has under way any more, and that may run all the same."""
    found = database.leases.find({"_id": {"$regex": f"^{_PREFIX}"}, **available_to("")}, {"_id": 1}, limit=_AT_ONCE)
    return [lease["_id"] async for lease in found]


async def end_abandoned(database: Database, lease_id: str) -> None:
    """End a call that nobody has under way any more, if it runs."""
    match = {"_id": lease_id, **available_to("")}
    if await database.leases.find_one(match):
        project_id, _, call_id = lease_id.removeprefix(_PREFIX).partition(":")
        await end_if_running(database, CallEnd(project_id, call_id, times.now(), {}, CUT_OFF, {"error": CUT_OFF}))
        await database.leases.delete_one(match)
