"""Work on the index of one project: what calls lack of it, what waits to be indexed, and what is of no use any more."""

from collections.abc import Awaitable, Callable
from typing import Final

from stores import ids, times
from stores.database import Database, Document
from stores.database.paced_steps import WorkSteps
from stores.text_search import segments
from stores.text_search.index_state import IndexLease
from stores.text_search.searched_fields import PATHS
from stores.text_search.segments import MOST_CALLS, Segment

WAITING_BYTES: Final = 2_000_000
"""What waits is looked through by each search: a segment is made when it is so much, or as many calls as it has."""

CHECKED_AFTER: Final = 3_600_000_000
"""A segment is looked at again so many microseconds later: whether its calls are still there, and as they were."""

_STRETCH: Final = 1_000
_AT_ONCE: Final = 10

IS_DUE: Final = {"$gt": ""}
"""The match of what waits."""


class Indexing:
    """The work on one index, as its holder does it."""

    def __init__(self, database: Database, hold: IndexLease) -> None:
        self._database = database
        self._calls = database.calls
        self._hold = hold
        self._project_id = hold.project_id

    async def steps(self) -> WorkSteps:
        """Do what can be done by now, some at a time.

        Raises:
            LostError: the index is to be another, or somebody else works on it.
        """
        async for _ in self._remove_others():
            yield
        if "ready_at" not in self._hold.state:
            async for _ in self._look_through(self._take_marks if self._hold.generation is None else self._mark):
                yield
        async for _ in self._index_waiting():
            yield
        async for _ in self._check_segments():
            yield

    async def _look_through(self, work: Callable[[Document], Awaitable[object]]) -> WorkSteps:
        """Work on all calls, as far as that is not done; at first, and when everybody who writes has heard."""
        state = self._hold.state
        if not is_to_look_through(state, times.now()):
            return
        began_at = state.get("began_at", times.now())
        position, looked_at = state.get("position", f"{self._project_id}:"), state["looked_at"]
        while keys := await self._keys_after(position):
            await self._hold.advance(began_at=began_at)
            await work({"_id": {"$gt": position, "$lte": keys[-1]}, "project_id": self._project_id})
            position, looked_at = keys[-1], looked_at + len(keys)
            await self._hold.advance(position=position, looked_at=looked_at)
            yield
            async for _ in self._index_waiting():
                yield
        is_last = began_at >= state["settled_at"]
        over = {"is_done": True} if self._hold.generation is None else {"ready_at": times.now()}
        if is_last:
            async for _ in self._remove_others():  # what those left behind who had not heard
                yield
        kept = looked_at if is_last else 0
        await self._hold.advance(
            position=None, began_at=None, looked_at=kept, has_passed=True, **(over if is_last else {})
        )

    async def _keys_after(self, position: str) -> list[str]:
        match = {"_id": {"$gt": position, "$lt": f"{self._project_id};"}, "project_id": self._project_id}
        found = self._calls.find(match, {"_id": 1}, sort=[("_id", 1)], limit=_STRETCH, batch_size=_STRETCH + 1)
        return [call["_id"] async for call in found]

    async def _mark(self, within: Document) -> None:
        """Mark the calls of a stretch that the index does not know."""
        unknown = {"search_due": None, "search_segment": {"$not": segments.of_generation(str(self._hold.generation))}}
        marks = {"$set": {"search_due": ids.new_id()}, "$unset": {"search_segment": ""}}
        await self._calls.update_many({**within, **unknown, "deleted_at": None}, marks)

    async def _take_marks(self, within: Document) -> None:
        """Take the marks from the calls of a stretch."""
        marked = {"$or": [{"search_due": IS_DUE}, {"search_segment": IS_DUE}]}
        await self._calls.update_many({**within, **marked}, {"$unset": {"search_due": "", "search_segment": ""}})

    async def _index_waiting(self) -> WorkSteps:
        """Make segments of what waits, as long as that is much."""
        while self._hold.generation and (count := await waiting(self._database, self._project_id)):
            of_project = {"project_id": self._project_id, "search_due": IS_DUE}
            paths = {"id": 1, "started_at": 1, "search_due": 1, **PATHS}
            found = self._calls.find(of_project, paths, sort=[("search_due", 1)], limit=count, batch_size=count + 1)
            calls = [call async for call in found]
            segment = await Segment.of(self._project_id, self._hold.generation, calls)
            await segment.store(self._database, self._hold.keep)
            await self._tell(segment, calls)
            yield

    async def _tell(self, segment: Segment, calls: list[Document]) -> None:
        """Tell the calls where they are, but for those that were written meanwhile."""
        unchanged = {"search_due": {"$in": list({call["search_due"] for call in calls})}}
        keys = {"_id": {"$in": [call["_id"] for call in calls]}, "project_id": self._project_id}
        told = {"$set": {"search_segment": segment.id}, "$unset": {"search_due": ""}}
        await self._calls.update_many({**keys, **unchanged}, told)

    async def _remove_others(self) -> WorkSteps:
        """Remove the segments of an index that there was before."""
        generation = self._hold.generation
        others = {"segment": {"$not": segments.of_generation(generation)}} if generation else {}
        match = {"project_id": self._project_id, **others}
        while heads := await self._database.search_segments.find(match, {"segment": 1}, limit=_AT_ONCE).to_list(None):
            await self._hold.advance()
            await segments.remove(self._database, self._project_id, [head["segment"] for head in heads])
            yield

    async def _check_segments(self) -> WorkSteps:
        """Remove segments half of whose calls were written again, or any of whose is gone, and so are its words then.

        What is left of them is indexed anew.
        """
        heads = self._database.search_segments
        match = {"project_id": self._project_id, "checked_at": {"$lt": times.now() - CHECKED_AFTER}}
        for head in await heads.find(match, {"segment": 1}, limit=_AT_ONCE).to_list(None):
            call_ids = await segments.ids_of(self._database, self._project_id, head["segment"])
            keys = [f"{self._project_id}:{call_id}" for call_id in call_ids]
            among = {"_id": {"$in": keys}, "project_id": self._project_id}
            there = {**among, "search_segment": head["segment"]}
            are_there = await self._calls.count_documents(among) == len(call_ids)
            are_most_current = 2 * await self._calls.count_documents(there) > len(call_ids)
            await self._hold.advance()
            if are_there and are_most_current:
                await heads.update_one({"_id": head["_id"]}, {"$set": {"checked_at": times.now()}})
            else:
                marks = {"$set": {"search_due": ids.new_id()}, "$unset": {"search_segment": ""}}
                await self._calls.update_many(there, marks)
                await segments.remove(self._database, self._project_id, [head["segment"]])
            yield


def is_to_look_through(state: Document, now: int) -> bool:
    """Whether all calls are to be looked through: at first, and again when everybody who writes has heard."""
    return not state.get("has_passed") or now >= state["settled_at"]


async def waiting(database: Database, project_id: str) -> int:
    """How many calls make the next segment; 0 where too little waits for one."""
    match = {"project_id": project_id, "search_due": IS_DUE}
    sizes = {"_id": 0, "search_due": 1, "storage_size_bytes": 1}
    found = database.calls.find(match, sizes, sort=[("search_due", 1)], limit=MOST_CALLS, batch_size=MOST_CALLS + 1)
    count, size = 0, 0
    async for call in found:
        count, size = count + 1, size + call.get("storage_size_bytes", 0)
        if size >= WAITING_BYTES:
            return count
    return count if count == MOST_CALLS else 0


async def has_work(database: Database, state: Document) -> bool:
    """Whether there is anything to do for an index by now."""
    project_id = state["_id"]
    if "ready_at" not in state:
        return is_to_look_through(state, times.now()) or await waiting(database, project_id) > 0
    old = {"project_id": project_id, "checked_at": {"$lt": times.now() - CHECKED_AFTER}}
    return await waiting(database, project_id) > 0 or await database.search_segments.find_one(old, {}) is not None
