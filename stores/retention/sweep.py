"""The sweep of a project's retention: old traces, then tombstones, then files that nothing references any more.

The retention document of the project has its rule, the lease of the sweep, and its progress. Every step that deletes
something updates this document in its own transaction, and only if rule and lease are unchanged. A change of the rule,
a takeover or a purge therefore either stops the step or follows it. The report counts exactly what was deleted, even
after a crash.

Old traces are found from the oldest call on; each is decided and deleted in one transaction. A transaction reads from a
snapshot. Before it commits, a read outside of it checks if a trace got another call; then the transaction is retried.
An end that arrives for one of the calls conflicts with the transaction, and one of the two is retried.

A file stays for a day after it was last stored or read, so that references may arrive later. It also stays while its
digest occurs in a call, object, table row or feedback of its project, tombstones included. Finding out means reading
all of these, so only projects with files of that age are scanned; if a scan takes long, not in every sweep.
"""

import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final, TypeVar

import re2

from stores import times
from stores.calls.fields import calls_match
from stores.concurrency.time_slices import TimeSlice
from stores.database import Collection, Database, Document
from stores.database.content_store import batches
from stores.database.indexes import BY_ID, index_by
from stores.database.leases import LEASE_SECONDS, Lease
from stores.database.paced_steps import WorkSteps, change_in_batches, key_range, weighted_batches
from stores.database.transactions import Session
from stores.files.uploads import REMOVAL_FIELDS, discard_removed, remove, stored_before
from stores.objects.documents import EMPTY
from stores.retention.rules import GracePeriods, Outcome, Rule, limits_of
from stores.rollups.marks import hours_of_calls, write_marks

_MAX_CANDIDATES: Final = 100_000
"""Maximum digests searched for in one scan: about ten megabytes."""

DIGEST_LENGTH: Final = 43
"""Letters and digits of a file's digest (`stores.digests`)."""

_RUN: Final = re.compile(rf"[0-9A-Za-z]{{{DIGEST_LENGTH},}}")
_ANY_RUN: Final = re2.compile(_RUN.pattern)
"""Pattern of a run in RE2, which is ten times as fast for texts without a run, as most are."""

_SLICE_LENGTH: Final = 50_000
_SEARCH_BATCH: Final = 500

_SEARCHED: Final = dict.fromkeys(("json", "visible", "trace_id", "deleted_at", "call_id"), 1)
"""Fields to read: the texts, and those that decide if a document is deleted, too."""

IsDoomed = Callable[[Document], bool]


def candidates_match(project_id: str, before: int, after: str = "") -> Document:
    """Return the match for a project's files after a key that were last stored or read before a time."""
    return {"_id": key_range(project_id, after), "project_id": project_id, **stored_before(before)}


async def find_unused(
    database: Database, project_id: str, before: int, is_doomed: IsDoomed = lambda _document: False
) -> AsyncGenerator[list[tuple[str, int]], None]:
    """Search a project's calls, objects, rows and feedback in steps; yield key and size of the unused files found.

    Most steps find none. Documents for which `is_doomed` is True are ignored: it gets a call, version or feedback with
    the fields that decide.
    """
    after = ""
    while True:
        match = candidates_match(project_id, before, after)
        rows = database.files.find(match, {"digest": 1, "length": 1}, sort=[("_id", 1)], limit=_MAX_CANDIDATES)
        candidates = [(row["_id"], row["digest"], row["length"]) async for row in rows]
        if not candidates:
            return
        after = candidates[-1][0]
        digests = {digest for _, digest, _ in candidates}
        for collection in (database.objects, database.table_rows, database.feedback, database.calls):
            position = ""
            while digests and (position := await _search_batch(collection, project_id, position, digests, is_doomed)):
                yield []
        yield [(key, size) for key, digest, size in candidates if digest in digests]


def digests_in(text: str, digests: AbstractSet[str]) -> Iterator[str]:
    """Yield the given digests that occur anywhere in a text, even inside longer words."""
    for run in _RUN.findall(text) if _ANY_RUN.search(text) else ():
        for start in range(len(run) - DIGEST_LENGTH + 1):
            word = run[start : start + DIGEST_LENGTH]
            if word in digests:
                yield word


async def _search_batch(
    collection: Collection, project_id: str, after: str, digests: set[str], is_doomed: IsDoomed
) -> str:
    """Remove the digests that occur in the next documents; return the last one's key, or "" if there is none."""
    match = {"_id": key_range(project_id, after), "project_id": project_id}
    last = ""
    time_slice = TimeSlice()
    async for document in collection.find(
        match, _SEARCHED, sort=[("_id", 1)], limit=_SEARCH_BATCH, batch_size=_SEARCH_BATCH + 1
    ):
        last = document["_id"]
        if is_doomed(document):
            continue
        for slice_ in _slices(document.get("json", {})):
            digests.difference_update(list(digests_in(slice_, digests)))
            if time_slice.is_used_up():
                await time_slice.yield_to_loop()
    return last


def _slices(texts: Document) -> Iterator[str]:
    """Yield the texts, long ones in slices that overlap so that no digest is cut."""
    for text in texts.values():
        for start in range(0, len(text), _SLICE_LENGTH):
            yield text[start : start + _SLICE_LENGTH + DIGEST_LENGTH - 1]


PAUSE: Final = 3_600_000_000
"""Microseconds from the end of a sweep to the next."""
PAUSE_AFTER_FAILURE: Final = 60_000_000

IS_RUNNING: Final = {"$eq": ["$sweep.outcome", str(Outcome.RUNNING)]}

_CALLS_PER_READ: Final = 500
"""Calls read per step."""

BATCH_SIZE: Final = 250
"""Maximum calls that one transaction deletes, unless a single trace has more."""

LARGE_TRACE: Final = 5_000
"""A trace with more calls is deleted in steps, from its newest calls on."""

_ATTEMPTS: Final = 5
_BY_TRACE: Final = index_by("calls", "project_id", "visible", "trace_id")
"""The index of traces, as a hint. MongoDB would scan all calls by time, because the first calls it tries all match.

It is named even while MongoDB lacks it: then a sweep fails and is tried again later, in place of scans for each batch.
"""

_MAX_REMEMBERED: Final = 10_000

_HIDDEN_PER_BATCH: Final = 500

_SHORT_MICROS: Final = times.SECOND
"""Duration below which a scan runs in every sweep, in microseconds."""
_REPEAT_FACTOR: Final = 20
"""Interval between longer scans, as a multiple of their duration."""

_Result = TypeVar("_Result")


class _TraceGrewError(Exception):
    """A trace got a call after it was read."""


class Sweep(Lease):
    """The lease on the sweep of a project, and its steps; `large` is the number of calls of a large trace."""

    def __init__(
        self,
        database: Database,
        project_id: str,
        grace_periods: GracePeriods | None = None,
        large: int = LARGE_TRACE,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        has_rule = {"$or": [{"keep_days": {"$exists": True}}, {"keep_calls": {"$exists": True}}]}
        super().__init__(database, database.retention, {"_id": project_id, **has_rule}, lease_seconds)
        self._project_id = project_id
        self._grace_periods = grace_periods or GracePeriods()
        self._large = large
        self._calls = database.calls
        self._visible = calls_match(project_id)
        self._now = times.now()
        self._before = 0
        self._doomed_stages: list[Document] = []
        self._kept: dict[str, None] = {}

    async def start(self) -> bool:
        """Acquire the lease and start a sweep, or continue an interrupted one.

        Returns False if there is no rule, or another process has the lease.
        """
        new = {"outcome": str(Outcome.RUNNING), "started_at": times.now()}
        return await self.acquire({"sweep": {"$cond": [IS_RUNNING, "$sweep", {"$literal": new}]}})

    async def count(self, counts: Mapping[str, int], session: Session) -> None:
        """Add to the counts of the report, in the transaction that deletes.

        Raises:
            LeaseLostError: if the lease is lost; the transaction must abort.
        """
        await self.advance(counts={f"sweep.{name}": number for name, number in counts.items()}, session=session)

    async def finish(self, error: str | None = None) -> None:
        """Store the outcome and the time of the next sweep; no effect if the lease is lost."""
        now = times.now()
        outcome = Outcome.DONE if error is None else Outcome.FAILED
        changes = {"sweep.outcome": str(outcome), "sweep.ended_at": now, "sweep.error": error}
        await self.release({**changes, "due_at": now + (PAUSE if error is None else PAUSE_AFTER_FAILURE)})

    async def steps(self) -> WorkSteps:
        """Delete everything in steps."""
        rule = Rule.from_document(self.state)
        if limits := await limits_of(self.database, self._project_id, rule, self._grace_periods):
            self._before, self._doomed_stages = limits.before, limits.doomed_traces()
        for steps in (self.remove_old_traces(), self.remove_tombstones(), self.remove_unused_files()):
            async for _ in steps:
                yield

    async def remove_old_traces(self) -> WorkSteps:
        """Delete old traces in steps."""
        if doomed := self.state.get("doomed"):
            async for _ in self._remove_large(doomed):
                yield
        if not self._doomed_stages:
            return
        old = {"$lt": self._before}
        async for calls in read_by_time(self._calls, self._visible, "started_at", old, ["trace_id"], _CALLS_PER_READ):
            for traces in weighted_batches(await self._doomed_traces(calls), "calls", BATCH_SIZE):
                async for _ in self._remove_batch(traces):
                    yield
            yield

    async def _doomed_traces(self, calls: Sequence[Document]) -> list[Document]:
        """Return the traces of some calls that are to be deleted, with their numbers of calls."""
        traces = {call["trace_id"]: None for call in calls if call["trace_id"] not in self._kept}
        await self._drop_newer(traces)
        rows = await self._still_doomed(list(traces)) if traces else []
        self._remember(traces.keys() - {row["_id"] for row in rows})
        return rows

    async def _still_doomed(self, trace_ids: Sequence[str], session: Session | None = None) -> list[Document]:
        """Return those of some traces that are to be deleted."""
        stages = [{"$match": {**self._visible, "trace_id": {"$in": trace_ids}}}, *self._doomed_stages]
        return await self._calls.aggregate(stages, session=session, hint=_BY_TRACE).to_list(None)

    async def _drop_newer(self, traces: dict[str, None]) -> None:
        """Remove traces with calls beyond the limit: some have very many calls, which need not be grouped."""
        while traces:
            newer = {**self._visible, "trace_id": {"$in": list(traces)}, "started_at": {"$gte": self._before}}
            cursor = self._calls.find(newer, {"_id": 0, "trace_id": 1}, limit=_CALLS_PER_READ, hint=_BY_TRACE)
            rows = await cursor.to_list(_CALLS_PER_READ)
            kept = {row["trace_id"] for row in rows}
            self._remember(kept)
            for trace_id in kept:
                del traces[trace_id]
            if len(rows) < _CALLS_PER_READ:
                return

    def _remember(self, kept: set[str]) -> None:
        self._kept |= dict.fromkeys(kept)
        for forgotten in list(self._kept)[:-_MAX_REMEMBERED]:
            del self._kept[forgotten]

    async def _remove_batch(self, traces: list[Document]) -> WorkSteps:
        if traces[0]["calls"] > self._large:
            if doomed := await self._attempt(partial(self._doom_large, trace_id=traces[0]["_id"])):
                async for _ in self._remove_large(doomed):
                    yield
            return
        trace_ids = [trace["_id"] for trace in traces]
        if call_ids := await self._attempt(partial(self._remove_traces, trace_ids=trace_ids)):
            await self._remove_late_feedback(call_ids)
        yield

    async def _attempt(self, operation: Callable[[Session], Coroutine[Any, Any, _Result]]) -> _Result | None:
        """Run a transaction and return its result; None if a trace got another call in each attempt."""
        for _ in range(_ATTEMPTS):
            try:
                return await self.database.transaction(operation)
            except _TraceGrewError:
                continue
        return None

    async def _doom_large(self, session: Session, trace_id: str) -> Document | None:
        """Decide finally on a large trace and store what to delete; None if it is to be kept."""
        rows = await self._still_doomed([trace_id], session)
        if not rows:
            return None
        doomed = {"trace_id": trace_id, "before": self._before}
        await self.advance({"doomed": doomed}, {"sweep.traces": 1}, session)
        if await self._still_doomed([trace_id]) != rows:
            raise _TraceGrewError
        return doomed

    async def _remove_traces(self, session: Session, trace_ids: Sequence[str]) -> list[str]:
        """Delete the traces that are still to be deleted, with their feedback; return the ids of their calls."""
        rows = await self._still_doomed(trace_ids, session)
        if not rows:
            return []
        match = {**self._visible, "trace_id": {"$in": [row["_id"] for row in rows]}}
        call_ids = [call["id"] async for call in self._calls.find(match, {"id": 1}, session=session, hint=_BY_TRACE)]
        counts = {"traces": len(rows), "trace_bytes": sum(row["bytes"] for row in rows)}
        await self.remove_calls(session, call_ids, counts | {"calls": len(call_ids)})
        present = {call["id"] async for call in self._calls.find(match, {"id": 1}, hint=_BY_TRACE)}
        if not present <= set(call_ids):
            raise _TraceGrewError
        return call_ids

    async def _remove_late_feedback(self, call_ids: list[str]) -> None:
        """Delete feedback that was stored while its calls were deleted."""
        match = {"project_id": self._project_id, "call_id": {"$in": call_ids}}
        await self._remove_orphans_of(await self.database.feedback.find(match, {"call_id": 1}).to_list(None))

    async def _remove_large(self, doomed: Document) -> WorkSteps:
        """Delete the calls of a trace that had started when its deletion was decided, from its newest calls on."""
        match = {**self._visible, "trace_id": doomed["trace_id"], "started_at": {"$lt": doomed["before"]}}

        async def remove(session: Session, calls: list[Document]) -> None:
            counts = {"calls": len(calls), "trace_bytes": sum(call["storage_size_bytes"] for call in calls)}
            await self.remove_calls(session, [call["id"] for call in calls], counts)

        paths = ("id", "started_at", "storage_size_bytes")
        order = (("started_at", -1), ("id", -1))
        async for calls in change_in_batches(
            self.database, self._calls, match, BATCH_SIZE, remove, paths, order, hint=_BY_TRACE
        ):
            await self._remove_late_feedback([call["id"] for call in calls])
            yield
        await self.advance({"doomed": None})

    async def remove_calls(self, session: Session, call_ids: Sequence[str], counts: dict[str, int]) -> None:
        """Delete calls, visible or not, with their feedback, and count that in the report.

        Raises:
            LeaseLostError: if the lease is lost.
        """
        keys: list[Any] = [f"{self._project_id}:{call_id}" for call_id in call_ids]
        match = {"_id": {"$in": keys}, "project_id": self._project_id}
        await write_marks(self.database, await hours_of_calls(self.database, match, session), session)
        await self._calls.delete_many(match, session=session, hint=BY_ID)
        on_these_calls = {"project_id": self._project_id, "call_id": {"$in": list(call_ids)}}
        feedback = await self.database.feedback.delete_many(on_these_calls, session=session)
        await self.count({**counts, "feedback": feedback.deleted_count}, session)

    async def _remove_orphans_of(self, feedback: Sequence[Document]) -> None:
        """Delete those of some feedback on calls whose calls do not exist, not even as tombstones."""

        async def without_call(session: Session | None = None) -> list[str]:
            keys = list({f"{self._project_id}:{one['call_id']}" for one in feedback})
            match = {"_id": {"$in": keys}, "project_id": self._project_id}
            present = {call["id"] async for call in self._calls.find(match, {"id": 1}, session=session)}
            return [one["_id"] for one in feedback if one["call_id"] not in present]

        async def remove(session: Session) -> None:
            keys = {"_id": {"$in": await without_call(session)}, "project_id": self._project_id}
            removed = await self.database.feedback.delete_many(keys, session=session)
            await self.count({"feedback": removed.deleted_count}, session)

        if feedback and await without_call():
            await self.database.transaction(remove)

    async def remove_tombstones(self) -> WorkSteps:
        """Delete tombstones after their grace periods: calls, unstarted parts, values of objects, orphaned feedback."""
        of_project = {"project_id": self._project_id}
        deleted_before = self._now - self._grace_periods.deleted
        long_ago = {"$lt": deleted_before}
        deleted = deleted_calls(self._project_id, deleted_before)
        never_started = {**of_project, "visible": False, "started_at": None, "deleted_at": None}
        in_batches = partial(change_in_batches, self.database, self._calls, size=_HIDDEN_PER_BATCH)
        for steps in (
            in_batches(deleted, change=self._remove_hidden, paths=("id", "deleted_at"), order=(("deleted_at", 1),)),
            in_batches({**never_started, "unstarted_since": long_ago}, change=self._remove_hidden, paths=("id",)),
            in_batches({**never_started, "unstarted_since": None}, change=self._mark_unstarted),
            change_in_batches(
                self.database,
                self.database.objects,
                {**of_project, "visible": False, "deleted_at": long_ago, "json.val": {"$ne": EMPTY["json"]["val"]}},
                50,
                self._empty,
            ),
        ):
            async for _ in steps:
                yield
        async for _ in self._remove_orphans():
            yield

    async def _remove_hidden(self, session: Session, calls: list[Document]) -> None:
        """Delete hidden calls with their feedback."""
        await self.remove_calls(session, [call["id"] for call in calls], {"hidden_calls": len(calls)})

    async def _mark_unstarted(self, session: Session, calls: list[Document]) -> None:
        """Mark ends and names without a start, because nothing else records when they arrived."""
        changes = {"$set": {"unstarted_since": times.now()}}
        await self._calls.update_many(self._of(calls), changes, session=session)
        await self.advance(session=session)

    async def _empty(self, session: Session, versions: list[Document]) -> None:
        """Delete the values of deleted versions; their version numbers remain."""
        emptied = {"$set": EMPTY, "$unset": {"refs": ""}}
        await self.database.objects.update_many(self._of(versions), emptied, session=session)
        await self.advance(session=session)

    def _of(self, documents: list[Document]) -> Document:
        keys = [document["_id"] for document in documents]
        return {"_id": {"$in": keys}, "project_id": self._project_id}

    async def _remove_orphans(self) -> WorkSteps:
        """Delete feedback on calls that do not exist; each is checked once, after its grace period.

        Feedback whose call is deleted later is deleted with the call.
        """
        feedback = self.database.feedback
        created = {
            "$gte": self.state.get("feedback_checked_until", 0),
            "$lt": self._now - self._grace_periods.feedback,
        }
        match = {"project_id": self._project_id}
        async for rows in read_by_time(feedback, match, "created_at", created, ["call_id"], _HIDDEN_PER_BATCH):
            await self._remove_orphans_of([row for row in rows if "call_id" in row])
            await self.advance({"feedback_checked_until": rows[-1]["created_at"]})
            yield

    async def remove_unused_files(self) -> WorkSteps:
        """Delete unused files in steps."""
        before = times.now() - self._grace_periods.files

        async def remove_unless_used(session: Session, keys: list[str]) -> None:
            """Delete files, unless they were stored or read meanwhile."""
            match = {"_id": {"$in": keys}, "project_id": self._project_id, **stored_before(before)}
            files = await self.database.files.find(match, REMOVAL_FIELDS, session=session).to_list(None)
            if files:
                await remove(self.database, session, files)
                await self.count({"files": len(files), "file_bytes": sum(file["length"] for file in files)}, session)

        async for _ in discard_removed(self.database, self._project_id):
            yield
        last_scan: dict[str, int] = self.state.get("files_looked_for", {"at": 0, "took": 0})
        started_at = times.now()
        is_long = last_scan["took"] >= _SHORT_MICROS
        if is_long and started_at - last_scan["at"] < _REPEAT_FACTOR * last_scan["took"]:
            return
        async for unused in find_unused(self.database, self._project_id, before):
            await self.advance()
            yield
            for files in batches(unused, 200):
                await self.database.transaction(partial(remove_unless_used, keys=[key for key, _ in files]))
                yield
                async for _ in discard_removed(self.database, self._project_id):
                    yield
        now = times.now()
        await self.advance({"files_looked_for": {"at": now, "took": now - started_at}})


async def read_by_time(
    collection: Collection, match: Document, field: str, limits: Document, paths: Sequence[str], size: int
) -> AsyncGenerator[list[Document], None]:
    """Yield the matching documents in batches, oldest first by `field`, whose values are within `limits`."""
    match = {**match, field: dict(limits)}
    projection = dict.fromkeys([*paths, field, "id"], 1)
    order = [(field, 1), ("id", 1)]
    while rows := await collection.find(match, projection, sort=order, limit=size, batch_size=size + 1).to_list(None):
        yield rows
        match[field]["$gte"] = at = rows[-1][field]
        match["$or"] = [{field: {"$gt": at}}, {field: at, "id": {"$gt": rows[-1]["id"]}}]


def deleted_calls(project_id: str, before: int) -> Document:
    """Return the match for calls deleted before a time."""
    return {"project_id": project_id, "deleted_at": {"$lt": before}}
