"""Preview of a sweep: counts what a rule would delete now, as far as requested."""

from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection

from stores import times
from stores.calls.documents import key_fields
from stores.database import Database, Document
from stores.retention.rules import Counts, GracePeriods, Limits
from stores.retention.tombstone_sweep import deleted_calls
from stores.retention.unused_file_sweep import IsDoomed, next_files, remove_referenced

_BATCH_SIZE = 1_000
_BUCKETS = 4_096
_TRACE_COUNTS = {"traces", "calls", "trace_bytes"}
_FILE_COUNTS = {"files", "file_bytes"}


class Preview:
    """The preview for one project."""

    def __init__(self, database: Database, project_id: str, limits: Limits | None, grace_periods: GracePeriods) -> None:
        self._database = database
        self._project_id = project_id
        self._limits = limits
        self._grace_periods = grace_periods
        self._deleted_before = times.now() - grace_periods.deleted
        self._deleted_calls = deleted_calls(project_id, self._deleted_before)

    async def counts(self, wanted: Collection[str]) -> Counts:
        """Return the wanted counts; the others are 0."""
        counts: dict[str, int] = {}
        if not _TRACE_COUNTS.isdisjoint(wanted):
            counts |= await self._traces()
        if "hidden_calls" in wanted:
            counts["hidden_calls"] = await self._database.calls.count_documents(self._deleted_calls)
        if "feedback" in wanted:
            counts["feedback"] = await self._feedback()
        if not _FILE_COUNTS.isdisjoint(wanted):
            counts |= await self._files()
        return Counts(**counts)

    async def _traces(self) -> dict[str, int]:
        counts = dict.fromkeys(sorted(_TRACE_COUNTS), 0)
        async for traces in self._doomed_traces():
            counts["traces"] += len(traces)
            counts["calls"] += sum(trace["calls"] for trace in traces)
            counts["trace_bytes"] += sum(trace["bytes"] for trace in traces)
        return counts

    async def _doomed_traces(self) -> AsyncIterator[list[Document]]:
        """Yield the traces that would be deleted, in batches."""
        if self._limits is None:
            return
        visible = {"project_id": self._project_id, "visible": True}
        stages = [{"$match": visible}, *self._limits.doomed_traces()]
        cursor = self._database.calls.aggregate(stages, allowDiskUse=True, batchSize=_BATCH_SIZE)
        while traces := await cursor.to_list(_BATCH_SIZE):
            yield traces

    async def _feedback(self) -> int:
        """Count the feedback on calls that would be deleted."""
        on_calls = {"project_id": self._project_id, "call_id": {"$exists": True}}
        if not await self._database.feedback.find_one(on_calls, {"_id": 1}):
            return 0
        count = await self._feedback_of(self._deleted_calls)
        async for traces in self._doomed_traces():
            count += await self._feedback_of({"visible": True, "trace_id": {"$in": [trace["_id"] for trace in traces]}})
        return count

    async def _feedback_of(self, match: Document) -> int:
        count = 0
        calls = self._database.calls.find({"project_id": self._project_id, **match}, {"_id": 0, "id": 1})
        while rows := await calls.to_list(_BATCH_SIZE):
            on_these_calls = {"project_id": self._project_id, "call_id": {"$in": [row["id"] for row in rows]}}
            count += await self._database.feedback.count_documents(on_these_calls)
        return count

    async def _files(self) -> dict[str, int]:
        """Count the files that nothing would reference any more."""
        counts = dict.fromkeys(sorted(_FILE_COUNTS), 0)
        last, before = "", times.now() - self._grace_periods.files
        if not await next_files(self._database, self._project_id, before):
            return counts
        is_doomed = await self._doomed_test()
        while candidates := await next_files(self._database, self._project_id, before, last):
            last = max(candidates)
            unused = {digest for digest, _ in candidates.values()}
            async for _ in remove_referenced(self._database, self._project_id, unused, is_doomed):
                continue
            sizes = [size for digest, size in candidates.values() if digest in unused]
            counts["files"] += len(sizes)
            counts["file_bytes"] += sum(sizes)
        return counts

    async def _doomed_test(self) -> IsDoomed:
        """Return a function that says if a call, version or feedback would be deleted."""
        doomed = _HashSet()
        async for traces in self._doomed_traces():
            for trace in traces:
                doomed.add(trace["_id"])

        def is_doomed_itself(document: Document) -> bool:
            deleted_at = document.get("deleted_at")
            is_deleted = deleted_at is not None and deleted_at < self._deleted_before
            return is_deleted or (bool(document.get("visible")) and document.get("trace_id") in doomed)

        feedback = await self._feedback_without_call(is_doomed_itself)
        return lambda found: found["_id"] in feedback if "call_id" in found else is_doomed_itself(found)

    async def _feedback_without_call(self, is_doomed: IsDoomed) -> "_HashSet":
        """Return the keys of feedback whose call would be deleted or has not arrived in time."""
        keys = _HashSet()
        created_before = times.now() - self._grace_periods.feedback
        on_calls = {"project_id": self._project_id, "call_id": {"$exists": True}}
        found = self._database.feedback.find(on_calls, {"call_id": 1, "created_at": 1})
        while rows := await found.to_list(_BATCH_SIZE):
            calls = await self._calls([row["call_id"] for row in rows])
            for row in rows:
                call = calls.get(row["call_id"])
                if row["created_at"] < created_before if call is None else is_doomed(call):
                    keys.add(row["_id"])
        return keys

    async def _calls(self, call_ids: list[str]) -> dict[str, Document]:
        """Return the existing calls by id, with the fields that decide if they would be deleted."""
        keys = {"_id": {"$in": [key_fields(self._project_id, call_id)["_id"] for call_id in set(call_ids)]}}
        deciding_fields = {"_id": 0, "id": 1, "visible": 1, "trace_id": 1, "deleted_at": 1}
        calls = self._database.calls.find(
            {**keys, "project_id": self._project_id}, deciding_fields, batch_size=_BATCH_SIZE + 1
        )
        return {call["id"]: call async for call in calls}


class _HashSet:
    """A compact set of very many texts: stores a 64-bit hash of each."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(_BUCKETS)]
        self._is_sorted = [False] * _BUCKETS

    def add(self, text: str) -> None:
        """Add a text; all must be added before the first lookup."""
        hash_ = hash(text)
        self._hashes[hash_ % _BUCKETS].append(hash_)

    def __contains__(self, text: object) -> bool:
        hash_ = hash(text)
        bucket = hash_ % _BUCKETS
        if not self._is_sorted[bucket]:
            # Sorted bucket by bucket on demand: sorting a million at once would block the event loop.
            self._hashes[bucket] = array("q", sorted(self._hashes[bucket]))
            self._is_sorted[bucket] = True
        hashes = self._hashes[bucket]
        index = bisect_left(hashes, hash_)
        return index < len(hashes) and hashes[index] == hash_
