"""The state document of a project's text index: whether it is on, and its progress.

Writers of calls learn only every few seconds whether their project has an index (`project_registry`). The indexer
therefore scans all calls immediately, and again when every writer must know. Calls written without that knowledge lose
their index marks, and the second scan sets them.
"""

from dataclasses import dataclass
from typing import Self

from pymongo import ReturnDocument

from stores import ids, times
from stores.database import Database, Document, project_registry
from stores.database.leases import LEASE_SECONDS, Lease
from stores.database.transactions import Session


@dataclass(frozen=True, slots=True)
class SearchIndex:
    """The text index of a project; times are microseconds since the epoch.

    While it `is_under_way` (built or deleted), `looked_at` of about `total` calls are scanned. They are scanned twice:
    after the first scan it `has_passed` and waits until all writers know of it. `waiting` calls are not indexed yet,
    and each search reads them. `cut` calls are indexed only by their first words. `size_bytes` is the stored size.
    """

    project_id: str
    is_on: bool
    set_at: int | None = None
    ready_at: int | None = None
    looked_at: int = 0
    total: int = 0
    has_passed: bool = False
    is_under_way: bool = False
    waiting: int = 0
    cut: int = 0
    size_bytes: int = 0

    @property
    def is_ready(self) -> bool:
        """True if searches can use it."""
        return self.ready_at is not None

    @classmethod
    def from_document(cls, project_id: str, document: Document | None, waiting: int, sums: Document) -> Self:
        """Create the state from a project's document (off without one), waiting calls, and sums over segments."""
        state = document or {}
        return cls(
            project_id,
            is_on=state.get("generation") is not None,
            set_at=state.get("set_at"),
            ready_at=state.get("ready_at"),
            looked_at=state.get("looked_at", 0),
            total=state.get("total", 0),
            has_passed=state.get("has_passed", False),
            is_under_way=not state.get("is_done", True) and "ready_at" not in state,
            waiting=waiting,
            cut=sums.get("cut", 0),
            size_bytes=sums.get("size", 0),
        )


async def switch(database: Database, project_id: str, *, is_on: bool) -> Document | None:
    """Switch a project's text index on or off; no effect if it is so already.

    Returns the state document, or None if the project is not listed or is being purged.
    """
    total = await database.calls.count_documents({"project_id": project_id, "visible": True})

    async def operation(session: Session) -> Document | None:
        entry = await database.projects.find_one({"_id": project_id, project_registry.PURGING: None}, session=session)
        if entry is None:
            return None
        state = await database.search_indexes.find_one({"_id": project_id}, session=session)
        if (project_registry.SEARCH in entry) == is_on:
            return state or {}
        now, generation = times.now(), ids.new_id()
        change = {"$set": {project_registry.SEARCH: generation}} if is_on else {"$unset": {project_registry.SEARCH: ""}}
        new: Document = {
            "set_at": now,
            "settled_at": project_registry.settled_at(entry, now),
            "looked_at": 0,
            "total": total,
            "is_done": False,
            **({"generation": generation} if is_on else {}),
        }
        await database.projects.update_one({"_id": project_id}, change, session=session)
        return await database.search_indexes.find_one_and_replace(
            {"_id": project_id},
            new,
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=session,
        )

    return await database.transaction(operation)


def index_lease(database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS) -> Lease:
    """Create the lease on the work on one project's index."""
    return Lease(database, database.search_indexes, {"_id": project_id, "is_done": False}, lease_seconds)
