"""Preview of a sweep: counts what a rule would delete now, as far as requested."""

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Collection

from stores import times
from stores.database import Database, Document
from stores.retention.rules import Counts, GracePeriods, Limits
from stores.retention.sweep import deleted_calls
from stores.retention.unused_file_search import candidates_match, find_unused

_BATCH_SIZE = 1_000
_BUCKETS = 16_384
_TRACE_COUNTS = {"traces", "calls", "trace_bytes"}
_FILE_COUNTS = {"files", "file_bytes"}


class Preview:
    """The preview for one project."""

    def __init__(self, database: Database, project_id: str, limits: Limits | None, grace_periods: GracePeriods) -> None:
        now = times.now()
        self._database = database
        self._project_id = project_id
        self._limits = limits
        self._deleted_before = now - grace_periods.deleted
        self._feedback_before = now - grace_periods.feedback
        self._files_before = now - grace_periods.files
        self._on_calls = {"project_id": project_id, "call_id": {"$exists": True}}
        self._doomed_traces = _HashSet()
        self._counts: Counter[str] = Counter()

    async def counts(self, wanted: Collection[str]) -> Counts:
        """Return the wanted counts; the others are 0."""
        candidates = candidates_match(self._project_id, self._files_before)
        has_files = not _FILE_COUNTS.isdisjoint(wanted) and await self._database.files.find_one(candidates, {"_id": 1})
        has_feedback = "feedback" in wanted and await self._database.feedback.find_one(self._on_calls, {"_id": 1})
        deleted = deleted_calls(self._project_id, self._deleted_before)
        if "hidden_calls" in wanted:
            self._counts["hidden_calls"] = await self._database.calls.count_documents(deleted)
        if has_feedback:
            await self._count_feedback(deleted)
        if has_files or has_feedback or not _TRACE_COUNTS.isdisjoint(wanted):
            async for traces in self._read_doomed_traces():
                self._count_traces(traces)
                if has_feedback:
                    of_traces = {"visible": True, "trace_id": {"$in": [trace["_id"] for trace in traces]}}
                    await self._count_feedback(of_traces)
        if has_files:
            await self._count_files()
        return Counts(**{name: count for name, count in self._counts.items() if name in wanted})

    async def _read_doomed_traces(self) -> AsyncIterator[list[Document]]:
        """Yield the traces that would be deleted, in batches."""
        if self._limits is None:
            return
        visible = {"project_id": self._project_id, "visible": True}
        stages = [{"$match": visible}, *self._limits.doomed_traces()]
        cursor = self._database.calls.aggregate(stages, allowDiskUse=True, batchSize=_BATCH_SIZE)
        while traces := await cursor.to_list(_BATCH_SIZE):
            yield traces

    def _count_traces(self, traces: list[Document]) -> None:
        calls, trace_bytes = (sum(trace[name] for trace in traces) for name in ("calls", "bytes"))
        self._counts.update(traces=len(traces), calls=calls, trace_bytes=trace_bytes)
        for trace in traces:
            self._doomed_traces.add(trace["_id"])

    async def _count_feedback(self, match: Document) -> None:
        """Count the feedback on the calls that match."""
        calls = self._database.calls.find({"project_id": self._project_id, **match}, {"_id": 0, "id": 1})
        while rows := await calls.to_list(_BATCH_SIZE):
            on_these_calls = {"project_id": self._project_id, "call_id": {"$in": [row["id"] for row in rows]}}
            self._counts["feedback"] += await self._database.feedback.count_documents(on_these_calls)

    async def _count_files(self) -> None:
        """Count the files that nothing would reference any more."""
        feedback = await self._feedback_without_call()

        def is_doomed(found: Document) -> bool:
            return found["_id"] in feedback if "call_id" in found else self._is_doomed(found)

        async for unused in find_unused(self._database, self._project_id, self._files_before, is_doomed):
            self._counts.update(files=len(unused), file_bytes=sum(size for _, size in unused))

    def _is_doomed(self, call: Document) -> bool:
        """Return True if a call or version would be deleted."""
        deleted_at = call.get("deleted_at")
        is_deleted = deleted_at is not None and deleted_at < self._deleted_before
        return is_deleted or (bool(call.get("visible")) and call.get("trace_id") in self._doomed_traces)

    async def _feedback_without_call(self) -> "_HashSet":
        """Return the keys of feedback whose call would be deleted or has not arrived in time."""
        keys = _HashSet()
        found = self._database.feedback.find(self._on_calls, {"call_id": 1, "created_at": 1})
        while rows := await found.to_list(_BATCH_SIZE):
            ids = {f"{self._project_id}:{row['call_id']}" for row in rows}
            match = {"_id": {"$in": list(ids)}, "project_id": self._project_id}
            deciding_fields = {"_id": 0, "id": 1, "visible": 1, "trace_id": 1, "deleted_at": 1}
            found_calls = self._database.calls.find(match, deciding_fields, batch_size=_BATCH_SIZE + 1)
            calls = {call["id"]: call async for call in found_calls}
            for row in rows:
                call = calls.get(row["call_id"])
                if row["created_at"] < self._feedback_before if call is None else self._is_doomed(call):
                    keys.add(row["_id"])
        return keys


class _HashSet:
    """A compact set of very many texts: stores a 64-bit hash of each."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]

    def add(self, text: str) -> None:
        """Add a text."""
        self._buckets[hash(text) % _BUCKETS].append(hash(text))

    def __contains__(self, text: object) -> bool:
        return hash(text) in self._buckets[hash(text) % _BUCKETS]
