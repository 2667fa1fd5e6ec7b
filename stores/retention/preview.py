"""What a rule would remove now, without removing anything; only what is wanted is counted."""

from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection

from stores import times
from stores.calls.documents import key
from stores.database import Database, Document
from stores.retention.file_references import Goes, all_mentioned
from stores.retention.reports import Counts
from stores.retention.rules import GracePeriods, Limits, Rule, limits_of
from stores.retention.tombstone_sweep import deleted_calls
from stores.retention.unused_file_sweep import some_files

_AT_ONCE = 1_000
_HEAPS = 4_096
_OF_TRACES = {"traces", "calls", "trace_bytes"}
_OF_FILES = {"files", "file_bytes"}


class Preview:
    """What would go of a project."""

    def __init__(self, database: Database, project_id: str, limits: Limits | None, patience: GracePeriods) -> None:
        self._database = database
        self._project_id = project_id
        self._limits = limits
        self._patience = patience
        self._deleted = times.now() - patience.deleted

    @classmethod
    async def of(cls, database: Database, project_id: str, rule: Rule, patience: GracePeriods) -> "Preview":
        """The preview of a rule."""
        return cls(database, project_id, await limits_of(database, project_id, rule, patience), patience)

    async def counts(self, wanted: Collection[str]) -> Counts:
        """The wanted counts, the others 0."""
        found: dict[str, int] = {}
        if not _OF_TRACES.isdisjoint(wanted):
            found |= await self._traces()
        if "hidden_calls" in wanted:
            found["hidden_calls"] = await self._database.calls.count_documents(self._deleted_calls)
        if "feedback" in wanted:
            found["feedback"] = await self._feedback()
        if not _OF_FILES.isdisjoint(wanted):
            found |= await self._files()
        return Counts(**found)

    @property
    def _deleted_calls(self) -> Document:
        return deleted_calls(self._project_id, self._deleted)

    async def _traces(self) -> dict[str, int]:
        counts = dict.fromkeys(sorted(_OF_TRACES), 0)
        async for trace in self._going():
            counts["traces"] += 1
            counts["calls"] += trace["calls"]
            counts["trace_bytes"] += trace["bytes"]
        return counts

    async def _going(self) -> AsyncIterator[Document]:
        """The traces that go."""
        if self._limits is None:
            return
        visible = {"project_id": self._project_id, "visible": True}
        stages = [{"$match": visible}, *self._limits.going()]
        async for trace in self._database.calls.aggregate(stages, allowDiskUse=True, batchSize=_AT_ONCE):
            yield trace

    async def _feedback(self) -> int:
        """How much there is on calls that go."""
        on_calls = {"project_id": self._project_id, "call_id": {"$exists": True}}
        if not await self._database.feedback.find_one(on_calls, {"_id": 1}):
            return 0
        count, waiting = 0, list[str]()
        async for trace in self._going():
            waiting.append(trace["_id"])
            if len(waiting) == _AT_ONCE:
                count += await self._feedback_of({"visible": True, "trace_id": {"$in": waiting}})
                waiting = []
        count += await self._feedback_of({"visible": True, "trace_id": {"$in": waiting}})
        return count + await self._feedback_of(self._deleted_calls)

    async def _feedback_of(self, match: Document) -> int:
        count = 0
        calls = self._database.calls.find({"project_id": self._project_id, **match}, {"_id": 0, "id": 1})
        while rows := await calls.to_list(_AT_ONCE):
            on_them = {"project_id": self._project_id, "call_id": {"$in": [row["id"] for row in rows]}}
            count += await self._database.feedback.count_documents(on_them)
        return count

    async def _files(self) -> dict[str, int]:
        """The files that nothing would speak of any more."""
        counts = dict.fromkeys(sorted(_OF_FILES), 0)
        last, before = "", times.now() - self._patience.files
        if not await some_files(self._database, self._project_id, before):
            return counts
        goes = await self._what_goes()
        while candidates := await some_files(self._database, self._project_id, before, last):
            last = max(candidates)
            unused = {digest for digest, _ in candidates.values()}
            async for _ in all_mentioned(self._database, self._project_id, unused, goes):
                continue
            sizes = [size for digest, size in candidates.values() if digest in unused]
            counts["files"] += len(sizes)
            counts["file_bytes"] += sum(sizes)
        return counts

    async def _what_goes(self) -> Goes:
        """What tells of a call, a version or feedback whether it goes."""
        traces = _Texts()
        async for trace in self._going():
            traces.add(trace["_id"])

        def goes_itself(document: Document) -> bool:
            deleted_at = document.get("deleted_at")
            is_deleted = deleted_at is not None and deleted_at < self._deleted
            return is_deleted or (bool(document.get("visible")) and document.get("trace_id") in traces)

        feedback = await self._feedback_without_call(goes_itself)
        return lambda found: found["_id"] in feedback if "call_id" in found else goes_itself(found)

    async def _feedback_without_call(self, goes: Goes) -> "_Texts":
        """The keys of the feedback whose call goes, or has not come in time."""
        keys = _Texts()
        spoken_of = times.now() - self._patience.feedback
        on_calls = {"project_id": self._project_id, "call_id": {"$exists": True}}
        found = self._database.feedback.find(on_calls, {"call_id": 1, "created_at": 1})
        while rows := await found.to_list(_AT_ONCE):
            calls = await self._calls([row["call_id"] for row in rows])
            for row in rows:
                call = calls.get(row["call_id"])
                if row["created_at"] < spoken_of if call is None else goes(call):
                    keys.add(row["_id"])
        return keys

    async def _calls(self, call_ids: list[str]) -> dict[str, Document]:
        """Those of some calls that are there, with what tells whether they go."""
        keys = {"_id": {"$in": [key(self._project_id, call_id)["_id"] for call_id in set(call_ids)]}}
        told_by = {"_id": 0, "id": 1, "visible": 1, "trace_id": 1, "deleted_at": 1}
        calls = self._database.calls.find({**keys, "project_id": self._project_id}, told_by, batch_size=_AT_ONCE + 1)
        return {call["id"]: call async for call in calls}


class _Texts:
    """Very many texts, of which only a number of 64 bits each is kept, to know them again."""

    def __init__(self) -> None:
        self._numbers = [array("q") for _ in range(_HEAPS)]
        self._is_sorted = [False] * _HEAPS

    def add(self, text: str) -> None:
        """Keep one, before any is looked for."""
        number = hash(text)
        self._numbers[number % _HEAPS].append(number)

    def __contains__(self, text: object) -> bool:
        number = hash(text)
        heap = number % _HEAPS
        if not self._is_sorted[heap]:
            # Only now, and only these: to sort a million at once would keep all others waiting.
            self._numbers[heap] = array("q", sorted(self._numbers[heap]))
            self._is_sorted[heap] = True
        numbers = self._numbers[heap]
        place = bisect_left(numbers, number)
        return place < len(numbers) and numbers[place] == number
