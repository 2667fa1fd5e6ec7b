"""The document of a project's index of texts: whether there is to be one, and how far it is.

Who writes calls learns only now and then whether their project has an index (`project_registry`). So all calls are
looked through once at once, and once more when nobody can write any more who has not heard; what is written
unknowingly loses the marks by which it is known to the index, and gets them then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from pymongo import ReturnDocument

from stores import ids, times
from stores.database import Database, Document, project_registry
from stores.database.leases import LEASE_SECONDS, available_to, lease_update, new_holder
from stores.database.transactions import Session

QUIET_SECONDS: Final = 120
"""In a project in which nothing was stored for so long no process writes before it looks, whatever its clock says."""
MARGIN_SECONDS: Final = 30
"""What one write takes at most."""


class LostError(Exception):
    """The index is to be another by now, or its project is gone, or somebody else works on it."""


@dataclass(frozen=True, slots=True)
class SearchIndex:
    """The index of a project's texts, as its document has it; times are microseconds since the epoch.

    While it is `under_way`, made or taken away, `looked_at` of about `total` calls were looked through; they are twice,
    where it `has_passed` them once and then waits for all who write to hear of it. So many calls are `waiting` to be in
    it, and looked through by each search; so many are in it with the first of their words alone, `cut`; and it takes
    `size_bytes`.
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
        """Whether searches may go by it."""
        return self.ready_at is not None

    @classmethod
    def of(cls, project_id: str, document: Document | None) -> Self:
        """What a project's document says; without one it has no index."""
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
        )


async def switch(database: Database, project_id: str, *, is_on: bool) -> Document | None:
    """Have an index of a project's texts from now on, or none; nothing happens where it is so already.

    Its document; None where the project is not listed, or is being purged.
    """
    total = await database.calls.count_documents({"project_id": project_id, "visible": True})

    async def work(session: Session) -> Document | None:
        entry = await database.projects.find_one({"_id": project_id, project_registry.PURGING: None}, session=session)
        if entry is None:
            return None
        state = await database.search_indexes.find_one({"_id": project_id}, session=session)
        if (project_registry.SEARCH in entry) == is_on:
            return state or {}
        generation = ids.new_id()
        change = {"$set": {project_registry.SEARCH: generation}} if is_on else {"$unset": {project_registry.SEARCH: ""}}
        await database.projects.update_one({"_id": project_id}, change, session=session)
        return await database.search_indexes.find_one_and_replace(
            {"_id": project_id},
            _new(generation if is_on else None, entry, total),
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=session,
        )

    return await database.transaction(work)


def _new(generation: str | None, entry: Document, total: int) -> Document:
    now = times.now()
    is_quiet = entry.get("last_activity_at", 0) < now - QUIET_SECONDS * times.SECOND
    settled_at = now if is_quiet else now + int((project_registry.LAG_SECONDS + MARGIN_SECONDS) * times.SECOND)
    state: Document = {"set_at": now, "settled_at": settled_at, "looked_at": 0, "total": total, "is_done": False}
    return state | ({"generation": generation} if generation else {})


class IndexLease:
    """The work on the index of one project, held by one worker."""

    def __init__(self, database: Database, state: Document, holder: str, lease_seconds: float) -> None:
        self._indexes = database.search_indexes
        self.state = state
        self.project_id: str = state["_id"]
        self.generation: str | None = state.get("generation")
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._own = {"_id": self.project_id, "holder": holder, "set_at": state["set_at"]}

    @classmethod
    async def take(
        cls, database: Database, project_id: str, lease_seconds: float = LEASE_SECONDS
    ) -> "IndexLease | None":
        """Work on an index from now on; None where there is nothing to do, or somebody is at it."""
        holder = new_holder()
        state = await database.search_indexes.find_one_and_update(
            {"_id": project_id, "is_done": False, **available_to(holder)},
            [{"$set": lease_update(holder, lease_seconds)}],
            return_document=ReturnDocument.AFTER,
        )
        return None if state is None else cls(database, state, holder, lease_seconds)

    async def keep(self, session: Session) -> None:
        """Hold it for longer, and for whatever else the session's transaction writes.

        Raises:
            LostError: the work is not ours.
        """
        await self._change({}, session)

    async def advance(self, **changes: object) -> None:
        """Keep changes (None takes a field away), as long as the work is ours.

        Raises:
            LostError: it is not.
        """
        await self._change(changes)

    async def _change(self, changes: Mapping[str, object], session: Session | None = None) -> None:
        values = {name: "$$REMOVE" if value is None else {"$literal": value} for name, value in changes.items()}
        update = [{"$set": {**lease_update(self._holder, self._lease_seconds), **values}}]
        state = await self._indexes.find_one_and_update(
            self._own, update, return_document=ReturnDocument.AFTER, session=session
        )
        if state is None:
            raise LostError
        self.state = state

    async def leave(self) -> None:
        """Let others go on with it, at once."""
        await self._indexes.update_one(self._own, {"$unset": {"holder": "", "held_until": ""}})
