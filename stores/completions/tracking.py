"""Calls of completions: stored as running before the request, and ended with the response.

Meanwhile the process has a lease on the call. If the process dies, another ends the call. If it was only suspended, it
ends the call later with the real result; the later end of a call wins. The lease is a document:

    _id                  completions:, the project id and the call id
    holder, held_until   the process, and the end of its lease (`stores.database.leases`)
"""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final

from pymongo.errors import PyMongoError

from stores import times
from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.writes import end_if_running
from stores.database import Database
from stores.database.leases import EXPIRED, LEASE_SECONDS, Lease, LeaseExpiredError, LeaseLostError
from stores.database.project_registry import RegisteredProjects
from stores.errors import BadInputError, PayloadTooLargeError, StoreError, UnavailableError
from stores.ids import new_id
from stores.providers import JsonObject
from stores.usage.entries import kept_entry, stated_entry

OP_NAME: Final = "weave.completions_create"
"""Op name of every completion that the server makes; a plain name without versions."""

INTERRUPTED: Final = "The response is incomplete: the client disconnected, or the server stopped."
SERVER_STOPPED: Final = "The server stopped before the response was complete. Retry the request."

_LEASE_PREFIX: Final = "completions:"
_MAX_FOUND: Final = 1000
_TRIES: Final = 4
_PAUSE_SECONDS: Final = 0.5

_log = logging.getLogger("loomql")


class BackgroundWrites:
    """Writes that continue even if the callers that wait for them are cancelled."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[None]] = set()

    def start(self, write: Awaitable[None]) -> asyncio.Future[None]:
        """Start a write in a task of its own."""
        task = asyncio.ensure_future(write)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Wait for all pending writes, including those that they start."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))


class TrackedCall:
    """The call of one provider request, from start to end.

    If the caller is cancelled while it waits for a write, both writes still happen, the end after the start.
    """

    def __init__(
        self,
        calls: CallsStore,
        writes: BackgroundWrites,
        project_id: str,
        usage_name: str,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.id = new_id()
        self._calls = calls
        self._writes = writes
        self._project_id = project_id
        self._usage_name = usage_name
        leases = calls.database.leases
        self._lease = Lease(calls.database, leases, {"_id": f"{_LEASE_PREFIX}{project_id}:{self.id}"}, lease_seconds)
        self._lease_keeper: asyncio.Task[None] | None = None
        self._start_write: asyncio.Future[None] | None = None
        self._listed: RegisteredProjects | None = None

    async def start(self, inputs: JsonObject, wb_user_id: str | None) -> None:
        """Store the call as running.

        Raises:
            PayloadTooLargeError: the inputs do not fit into a document.
            BadInputError: the inputs or the user's name are invalid; the error names them.
            UnavailableError: the database is unreachable.
        """
        fields = self._project_id, OP_NAME, times.now(), dict[str, Any](), inputs
        started = CallStart(*fields, id=self.id, wb_user_id=wb_user_id, is_large=True)
        self._start_write = self._writes.start(self._store_start(started))
        try:
            await asyncio.shield(self._start_write)
        except StoreError as error:
            raise error.relative_to("start") from None

    async def _store_start(self, started: CallStart) -> None:
        await self._lease.insert({})
        self._lease_keeper = asyncio.create_task(self._keep_lease())
        await self._calls.write_one(started)
        with suppress(UnavailableError):  # the call is stored, and its end does not depend on this
            self._listed = await self._check_not_purging()

    async def _keep_lease(self) -> None:
        """Renew the lease until another process deletes it; a renewal after a failure of the database restores it."""
        with suppress(LeaseLostError):
            while True:
                with suppress(LeaseExpiredError):
                    await self._lease.keep()

    async def end(self, response: JsonObject) -> None:
        """Store the response if the call was started; errors are logged, so that the caller still gets its response."""
        await asyncio.shield(self._writes.start(self._store_end(response)))

    async def _store_end(self, response: JsonObject) -> None:
        try:
            if await self._start_is_stored():
                await self._write_end_or_reason(response, _message(response))
        except StoreError:
            # The end may not be stored; another process ends the call when the lease expires.
            message = "could not store the end of call %s of project %s; another process ends it later"
            _log.exception(message, self.id, self._project_id)
        else:
            self._writes.start(self._remove_lease())
        finally:
            if self._lease_keeper:
                self._lease_keeper.cancel()

    async def _remove_lease(self) -> None:
        """Delete the lease; if that fails, another process deletes it later."""
        with suppress(StoreError, PyMongoError):
            await self._lease.remove()

    async def _start_is_stored(self) -> bool:
        """Return True if the start was stored.

        Raises:
            UnavailableError: that is unknown.
        """
        try:
            if self._start_write:
                await self._start_write
        except (BadInputError, PayloadTooLargeError):
            return False
        return self._start_write is not None

    async def _write_end_or_reason(self, response: JsonObject, message: str | None) -> None:
        """Store the end; if no call can hold the response, store the reason and the usage instead."""
        try:
            await self._write_with_retry(self._end(response, message))
        except (BadInputError, PayloadTooLargeError) as error:
            message = message or f"The response cannot be stored: {error.message}"
            await self._write_with_retry(self._end({"error": message, "usage": _usage_counts(response)}, message))

    def _end(self, response: JsonObject, exception: str | None) -> CallEnd:
        usage = response.get("usage")
        summary = {"usage": {self._usage_name: usage}} if isinstance(usage, dict) else {}
        return CallEnd(self._project_id, self.id, times.now(), summary, exception, response, is_large=True)

    async def _write_with_retry(self, ended: CallEnd) -> None:
        for number in range(1, _TRIES):
            try:
                return await self._write_once(ended)
            except UnavailableError:
                await asyncio.sleep(_PAUSE_SECONDS * number)
        return await self._write_once(ended)

    async def _write_once(self, ended: CallEnd) -> None:
        # If the project was purged during the request, its call is gone and must not come back.
        if self._listed is None or await self._check_not_purging() == self._listed:
            await self._calls.write_one(ended)

    async def _check_not_purging(self) -> RegisteredProjects:
        database = self._calls.database
        return await database.query(database.ensure_not_purging(self._project_id))


async def find_abandoned(database: Database) -> list[str]:
    """Return the ids of expired leases, whose calls may still be marked as running."""
    match = {"_id": {"$regex": f"^{_LEASE_PREFIX}"}, **EXPIRED}
    return [lease["_id"] async for lease in database.leases.find(match, {"_id": 1}, limit=_MAX_FOUND)]


async def end_abandoned(database: Database, lease_id: str) -> None:
    """End the call of an expired lease if it still runs, and delete the lease."""
    match = {"_id": lease_id, **EXPIRED}
    if await database.leases.find_one(match):
        project_id, _, call_id = lease_id.removeprefix(_LEASE_PREFIX).partition(":")
        await end_if_running(
            database, CallEnd(project_id, call_id, times.now(), {}, SERVER_STOPPED, {"error": SERVER_STOPPED})
        )
        await database.leases.delete_one(match)


def _message(response: JsonObject) -> str | None:
    error: Any = response.get("error")
    return error if isinstance(error, str) else None


def _usage_counts(response: JsonObject) -> JsonObject | None:
    """Reduce the usage of a response to valid counts and a cost."""
    usage: Any = response.get("usage")
    return stated_entry(kept_entry("", usage)) if isinstance(usage, dict) else None
