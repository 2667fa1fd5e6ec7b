"""The store of retention: rules of projects, previews and sweeps."""

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import asdict
from functools import partial
from typing import Final

from pymongo import ReturnDocument

from stores import ids, times
from stores.calls.fields import calls_match
from stores.database import Database, Document, database_query, database_write, project_registry
from stores.database.connection import always, in_scan_slot
from stores.database.leases import LeaseLostError
from stores.database.paced_steps import deadline_in, run_paced
from stores.database.scan_order import scan_hint
from stores.database.transactions import Session
from stores.errors import BadInputError, NotFoundError, StoreError, UnavailableError
from stores.ids import check_project_id
from stores.retention.rules import Counts, GracePeriods, Limits, Outcome, Report, Retention, Rule, limits_of
from stores.retention.sweep import IS_RUNNING, LARGE_TRACE, Sweep, candidates_match, deleted_calls, find_unused
from stores.security import audit

_BATCH_SIZE = 1_000
_BUCKETS = 16_384


class Preview:
    """The preview of a sweep of one project: counts what a rule would delete now, as far as requested."""

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
        has_files = not {"files", "file_bytes"}.isdisjoint(wanted) and await self._database.files.find_one(
            candidates, {"_id": 1}
        )
        has_feedback = "feedback" in wanted and await self._database.feedback.find_one(self._on_calls, {"_id": 1})
        deleted = deleted_calls(self._project_id, self._deleted_before)
        if "hidden_calls" in wanted:
            self._counts["hidden_calls"] = await self._database.calls.count_documents(deleted)
        if has_feedback:
            await self._count_feedback(deleted)
        if has_files or has_feedback or not {"traces", "calls", "trace_bytes"}.isdisjoint(wanted):
            async for traces in self._read_doomed_traces():
                calls, trace_bytes = (sum(trace[name] for trace in traces) for name in ("calls", "bytes"))
                self._counts.update(traces=len(traces), calls=calls, trace_bytes=trace_bytes)
                for trace in traces:
                    self._doomed_traces.add(trace["_id"])
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
        stages = [{"$match": calls_match(self._project_id)}, *self._limits.doomed_traces()]
        hint = await scan_hint(self._database.calls, stages)
        cursor = self._database.calls.aggregate(stages, allowDiskUse=True, batchSize=_BATCH_SIZE, **hint)
        while traces := await cursor.to_list(_BATCH_SIZE):
            yield traces

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
            call_keys = {f"{self._project_id}:{row['call_id']}" for row in rows}
            match = {"_id": {"$in": list(call_keys)}, "project_id": self._project_id}
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


PAUSE: Final = 0.25
"""Pause of a sweep after each step, as a multiple of the step's duration."""


class RetentionStore:
    """Retention in MongoDB."""

    def __init__(self, database: Database, grace_periods: GracePeriods | None = None, large: int = LARGE_TRACE) -> None:
        self.database = database
        self._grace_periods = grace_periods or GracePeriods()
        self._large = large

    @database_query
    async def one(self, project_id: str) -> Retention | None:
        """Return the retention of a project; None if there is no such project."""
        check_project_id(project_id)
        document = await self.database.retention.find_one({"_id": project_id})
        if document is None and not await self._is_listed(project_id):
            return None
        return Retention.from_document(project_id, document)

    @database_query
    async def all(self) -> list[Retention]:
        """Return the retention of all projects with a rule, sorted by id."""
        cursor = self.database.retention.find({"due_at": {"$exists": True}}, sort=[("_id", 1)])
        return [Retention.from_document(document["_id"], document) async for document in cursor]

    @database_write
    async def set_rule(self, project_id: str, rule: Rule) -> Retention:
        """Replace the rule of a project; an empty rule removes it. A running sweep by the old rule stops.

        Raises:
            BadInputError: if the rule is invalid.
            NotFoundError: if there is no such project.
            UnavailableError: if the project is being purged.
        """
        check_project_id(project_id)
        rule.check()
        await self._check_listed(project_id)
        audit.record_action("retention.set", project_id, keep_days=rule.keep_days, keep_calls=rule.keep_calls)
        document = await self.database.transaction(partial(self._set_rule, project_id=project_id, rule=rule))
        if document is None:
            await self.database.ensure_not_purging(project_id)
            raise _no_project(project_id)
        await self._log_finished(project_id)
        return Retention.from_document(project_id, document)

    async def _set_rule(self, session: Session, project_id: str, rule: Rule) -> Document | None:
        """Replace the rule and stop a sweep by the old one; None if the project is not listed or is being purged."""
        now, rule_id = times.now(), ids.new_id()
        stopped = {"outcome": str(Outcome.STOPPED), "ended_at": now, "error": "the rule was changed"}
        changes: Document = {
            "project_id": project_id,
            "keep_days": "$$REMOVE" if rule.keep_days is None else rule.keep_days,
            "keep_calls": "$$REMOVE" if rule.keep_calls is None else rule.keep_calls,
            "rule_id": rule_id,
            "set_at": now,
            "due_at": now if rule else "$$REMOVE",
            **dict.fromkeys(("doomed", "holder", "held_until"), "$$REMOVE"),
            "sweep": {
                "$cond": [IS_RUNNING, {"$mergeObjects": ["$sweep", stopped]}, {"$ifNull": ["$sweep", "$$REMOVE"]}]
            },
        }
        # Also writes the registry entry, so that it conflicts with the start or end of a purge.
        entry = {"_id": project_id, project_registry.PURGING: None}
        listed = await self.database.projects.update_one(entry, {"$set": {"rule_id": rule_id}}, session=session)
        if not listed.matched_count:
            return None
        return await self.database.retention.find_one_and_update(
            {"_id": project_id}, [{"$set": changes}], upsert=True, return_document=ReturnDocument.AFTER, session=session
        )

    @in_scan_slot(always)
    @database_query
    async def preview(self, project_id: str, rule: Rule, wanted: Collection[str]) -> Counts:
        """Count what a rule would delete now, as far as wanted; an empty rule stands for the project's own.

        Raises:
            BadInputError: if the rule is invalid, or there is none.
            NotFoundError: if there is no such project.
        """
        check_project_id(project_id)
        rule.check()
        await self._check_listed(project_id)
        if not rule:
            document = await self.database.retention.find_one({"_id": project_id})
            rule = Retention.from_document(project_id, document).rule
        if not rule:
            raise BadInputError(f"{project_id} has no rule; state how many days or calls to keep", "keep_days")
        limits = await limits_of(self.database, project_id, rule, self._grace_periods)
        return await Preview(self.database, project_id, limits, self._grace_periods).counts(wanted)

    async def sweep(self, project_id: str, seconds: float | None = None, pause: float = PAUSE) -> Report:
        """Sweep a project by its rule, for at most `seconds`; return the progress.

        If another process sweeps it already, this returns that sweep's progress.

        Raises:
            BadInputError: if the project has no rule.
            NotFoundError: if there is no such project.
            UnavailableError: if the database is unreachable; the sweep continues when it is back.
        """
        check_project_id(project_id)
        # Log the last sweep before this one replaces its report.
        await self.database.run(self._log_finished(project_id))
        sweep = Sweep(self.database, project_id, self._grace_periods, self._large)
        is_ours = await sweep.start()
        if is_ours:
            try:
                await self._run(sweep, seconds, pause)
            finally:
                await self.database.run(self._log_finished(project_id))
        retention = await self.one(project_id)
        if retention is None:
            raise _no_project(project_id)
        if retention.report is None or (not is_ours and not retention.rule):
            raise BadInputError(f"{project_id} has no rule; set one with retentionSet", "project_id")
        return retention.report

    async def _run(self, sweep: Sweep, seconds: float | None, pause: float) -> None:
        """Sweep to the end, or for at most `seconds`; another process can then continue.

        It stops early if the rule changes or the project is purged.

        Raises:
            UnavailableError: if the database is unreachable; a later sweep continues.
        """
        try:
            is_done = await run_paced(self.database, sweep.steps(), pause, deadline_in(seconds))
            await (sweep.finish() if is_done else sweep.release({"due_at": times.now()}))
        except LeaseLostError:
            return
        except UnavailableError:
            raise
        except StoreError as error:
            await sweep.finish(error.message)
            raise
        except Exception:
            await sweep.finish("unexpected server error; see the server's log")
            raise

    @database_query
    async def due(self) -> list[str]:
        """Return the projects whose sweep is due or was interrupted, the longest waiting first."""
        match = {"due_at": {"$lte": times.now()}}
        cursor = self.database.retention.find(match, {"_id": 1}, sort=[("due_at", 1)], limit=1_000)
        return [document["_id"] async for document in cursor]

    async def _log_finished(self, project_id: str) -> None:
        """Log a finished sweep that deleted something, once, even if the sweeping process died."""
        document = await self.database.retention.find_one({"_id": project_id, "sweep.is_told": {"$ne": True}})
        report = Retention.from_document(project_id, document).report
        if report is None or report.outcome is Outcome.RUNNING:
            return
        counts = asdict(report.counts)
        if any(counts.values()):
            started_at = times.to_text(report.started_at)
            audit.record_action(
                "retention.sweep", project_id, outcome=str(report.outcome), started_at=started_at, **counts
            )
        match = {"_id": project_id, "sweep.started_at": report.started_at}
        await self.database.retention.update_one(match, {"$set": {"sweep.is_told": True}})

    async def _is_listed(self, project_id: str) -> bool:
        return await self.database.projects.find_one({"_id": project_id}, {"_id": 1}) is not None

    async def _check_listed(self, project_id: str) -> None:
        if not await self._is_listed(project_id):
            raise _no_project(project_id)


def _no_project(project_id: str) -> NotFoundError:
    return NotFoundError(f"project {project_id} does not exist: nothing was ever stored in it", "project_id")
