"""The store of retention: rules of projects, previews and sweeps."""

from collections.abc import Collection
from dataclasses import asdict
from functools import partial
from typing import Final

from pymongo import ReturnDocument

from stores import ids, times
from stores.database import Database, Document, database_query, database_write, project_registry
from stores.database.connection import always, in_scan_slot
from stores.database.leases import LeaseLostError
from stores.database.paced_steps import deadline_in, run_paced
from stores.database.transactions import Session
from stores.errors import BadInputError, NotFoundError, StoreError, UnavailableError
from stores.ids import check_project_id
from stores.retention.preview import Preview
from stores.retention.rules import Counts, GracePeriods, Outcome, Report, Retention, Rule, limits_of
from stores.retention.sweep import IS_RUNNING, LARGE_TRACE, Sweep
from stores.security import audit

PAUSE: Final = 0.25
"""Pause of a sweep after each step, as a multiple of the step's duration."""

_MAX_DUE = 1_000


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
            {"_id": project_id},
            [{"$set": changes}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
            session=session,
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
        cursor = self.database.retention.find(match, {"_id": 1}, sort=[("due_at", 1)], limit=_MAX_DUE)
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
