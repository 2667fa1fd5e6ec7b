"""Leases: work that one process does at a time. If the process dies, another continues when the lease has expired.

The lease lies in the document with the state of the work:

    holder        random id of the process that has the lease
    held_until    end of the lease by MongoDB's clock

Every change of the state renews the lease, and fails if the lease is lost. A transaction that changes the state
therefore writes nothing after the loss. A writer that resets or replaces the document takes the lease from its holder.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Never, TypeVar

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from stores.database import Collection, Database
from stores.database.transactions import Session
from stores.errors import StoreError

LEASE_SECONDS: Final = 15.0
"""Duration of a lease, longer than a step on a slow database; a dead holder blocks others for this long."""

_Document = dict[str, Any]
_Result = TypeVar("_Result")

EXPIRED: Final[_Document] = {"$expr": {"$lte": [{"$ifNull": ["$held_until", None]}, "$$NOW"]}}
"""Match for documents whose lease is free or expired."""


class LeaseLostError(Exception):
    """The work has ended or was reset, or another process acquired the lease."""


class LeaseExpiredError(LeaseLostError):
    """The database failed for as long as the lease. Another process may have acquired the lease, or may do so."""


class Lease:
    """One process's lease on one piece of work. Its methods raise the errors of `Database.run`.

    Args:
        database: runs the operations.
        documents: the collection of states.
        match: the key of the state, and conditions without which there is no work.
        seconds: duration of the lease after each change.
    """

    def __init__(
        self, database: Database, documents: Collection, match: _Document, seconds: float = LEASE_SECONDS
    ) -> None:
        self.database = database
        self._documents = documents
        self._match = match
        self._seconds = seconds
        self._holder = uuid.uuid4().hex
        self.state: _Document = {}
        """The document as of this process's last change outside of a transaction, which may still abort."""

    async def acquire(self, fields: _Document | None = None) -> bool:
        """Acquire or renew the lease and set fields by their expressions.

        Returns False if another process has the lease, or there is no work.
        """
        is_available = {"$or": [{"holder": self._holder}, EXPIRED]}
        return await self._update({"$and": [self._match, is_available]}, fields or {})

    async def insert(self, document: _Document) -> bool:
        """Insert a new state with the lease acquired; False if the state exists already."""
        match = {**self._match, "holder": self._holder}
        try:
            return await self._update(match, _values(document), upsert=True)
        except DuplicateKeyError:
            return False

    async def advance(
        self,
        changes: Mapping[str, object] | None = None,
        counts: Mapping[str, int] | None = None,
        session: Session | None = None,
    ) -> None:
        """Store changes (None removes a field), add to counts, and renew the lease.

        Raises:
            LeaseLostError: if the lease is lost; a surrounding transaction must abort.
        """
        added = {name: {"$add": [{"$ifNull": [f"${name}", 0]}, number]} for name, number in (counts or {}).items()}
        if not await self._update(self._held, {**added, **_values(changes or {})}, session):
            raise LeaseLostError

    async def release(self, changes: Mapping[str, object] | None = None, pause_seconds: float = 0) -> bool:
        """Store changes, and let other processes acquire the lease after a pause; False if the lease was lost."""
        free = {"holder": "$$REMOVE", "held_until": _end(pause_seconds) if pause_seconds else "$$REMOVE"}
        update = [{"$set": {**_values(changes or {}), **free}}]
        released = await self.database.run(partial(self._documents.update_one, self._held, update))
        return released.matched_count == 1

    async def remove(self) -> None:
        """Delete the document, because the work has ended; no effect if the lease is lost."""
        await self.database.run(partial(self._documents.delete_one, self._held))

    async def run(
        self,
        work: Coroutine[Any, Any, _Result],
        renew: Callable[[], Awaitable[object]] | None = None,
        pause_seconds: float | None = None,
        wake: asyncio.Event | None = None,
    ) -> _Result:
        """Run `work` and return its result; meanwhile keep the lease, with the arguments of `keep`.

        An error of `renew` cancels the work.

        Raises:
            LeaseLostError: if the lease is lost; the work is cancelled then.
        """
        work_task = asyncio.create_task(work)
        keep_task = asyncio.create_task(self.keep(renew, pause_seconds, wake))
        try:
            await asyncio.wait({work_task, keep_task}, return_when=asyncio.FIRST_COMPLETED)
            return await (work_task if work_task.done() else keep_task)
        finally:
            work_task.cancel()
            keep_task.cancel()
            await asyncio.gather(work_task, keep_task, return_exceptions=True)

    async def keep(
        self,
        renew: Callable[[], Awaitable[object]] | None = None,
        pause_seconds: float | None = None,
        wake: asyncio.Event | None = None,
    ) -> Never:
        """Call `renew` (by default `advance`) after each pause (by default a third of the lease) until cancelled.

        Setting `wake` ends a pause. If `renew` fails because of the database, it is tried again.

        Raises:
            LeaseLostError: if the lease is lost.
            LeaseExpiredError: if the database failed for as long as the lease.
        """
        wake = wake or asyncio.Event()
        renewed_at = monotonic()
        while monotonic() - renewed_at < self._seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds or self._seconds / 3):
                    await wake.wait()
            wake.clear()
            started_at = monotonic()
            with suppress(StoreError, PyMongoError):
                await (renew or self.advance)()
                renewed_at = started_at
        raise LeaseExpiredError

    @property
    def _held(self) -> _Document:
        return {**self._match, "holder": self._holder}

    async def _update(
        self, match: _Document, fields: _Document, session: Session | None = None, *, upsert: bool = False
    ) -> bool:
        update = [{"$set": {"holder": self._holder, "held_until": _end(self._seconds), **fields}}]

        after = ReturnDocument.AFTER
        update_one = partial(self._documents.find_one_and_update, return_document=after, upsert=upsert, session=session)
        write = partial(update_one, match, update)
        found = await (write() if session else self.database.run(write))
        if found and not session:
            self.state = found
        return found is not None


def _end(seconds: float) -> _Document:
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def _values(changes: Mapping[str, object]) -> _Document:
    return {name: "$$REMOVE" if value is None else {"$literal": value} for name, value in changes.items()}
