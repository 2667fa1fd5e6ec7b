"""The store of retention: what is kept of projects, what that would remove, and its removal."""

from collections.abc import Collection
from dataclasses import asdict

from stores import times
from stores.concurrency.scan_slots import in_scan_slot
from stores.database import Database, database_query, database_write
from stores.errors import BadInputError, NotFoundError
from stores.ids import check_project_id
from stores.retention import sweep_state
from stores.retention.preview import Preview
from stores.retention.reports import Counts, Outcome, Report, Retention
from stores.retention.rules import GracePeriods, Rule
from stores.retention.sweep import PAUSE, Sweep
from stores.retention.sweep_state import SweepLease
from stores.retention.trace_sweep import LARGE
from stores.security import audit

_MOST_DUE = 1_000


class RetentionStore:
    """Retention in MongoDB."""

    def __init__(self, database: Database, patience: GracePeriods | None = None, large: int = LARGE) -> None:
        self.database = database
        self._patience = patience or GracePeriods()
        self._large = large

    @database_query
    async def one(self, project_id: str) -> Retention | None:
        """What is kept of a project; None where there is no such project."""
        check_project_id(project_id)
        document = await self.database.retention.find_one({"_id": project_id})
        if document is None and not await self._is_listed(project_id):
            return None
        return Retention.of(project_id, document)

    @database_query
    async def all(self) -> list[Retention]:
        """The projects that have a rule, by id."""
        found = self.database.retention.find({"due_at": {"$exists": True}}, sort=[("_id", 1)])
        return [Retention.of(document["_id"], document) async for document in found]

    @database_write
    async def set_rule(self, project_id: str, rule: Rule) -> Retention:
        """Give a project another rule, the whole of it; an empty one takes it away. What sweeps by the old one stops.

        Raises:
            BadInputError: the rule breaks a rule of its own.
            NotFoundError: there is no such project.
            UnavailableError: it is being purged.
        """
        check_project_id(project_id)
        rule.check()
        await self._check_listed(project_id)
        audit.record_action("retention.set", project_id, keep_days=rule.keep_days, keep_calls=rule.keep_calls)
        document = await sweep_state.set_rule(self.database, project_id, rule)
        if document is None:
            await self.database.ensure_not_purging(project_id)
            raise _no_project(project_id)
        await self._tell(project_id)
        return Retention.of(project_id, document)

    @in_scan_slot()
    @database_query
    async def preview(self, project_id: str, rule: Rule, wanted: Collection[str]) -> Counts:
        """The wanted counts of what a rule, or if that is empty the project's own, would remove now.

        Raises:
            BadInputError: the rule breaks a rule of its own, or there is none.
            NotFoundError: there is no such project.
        """
        check_project_id(project_id)
        rule.check()
        await self._check_listed(project_id)
        if not rule:
            document = await self.database.retention.find_one({"_id": project_id})
            rule = Retention.of(project_id, document).rule
        if not rule:
            raise BadInputError(f"{project_id} has no rule; name what to keep, or keep_calls", "keep_days")
        preview = await Preview.of(self.database, project_id, rule, self._patience)
        return await preview.counts(wanted)

    async def sweep(self, project_id: str, seconds: float | None = None, pause: float = PAUSE) -> Report:
        """Sweep a project by its rule, for so many seconds at most; how far it is then.

        Where another process is at it, that goes on, and is told of.

        Raises:
            BadInputError: the project has no rule.
            NotFoundError: there is no such project.
            UnavailableError: the database is away; the sweep goes on when it is back.
        """
        check_project_id(project_id)
        await self.database.run(self._tell(project_id))  # of the last one, which this one's report comes in place of
        hold = await self.database.run(SweepLease.take(self.database, project_id))
        if hold is not None:
            try:
                await Sweep(self.database, hold, self._patience, self._large).run(seconds, pause)
            finally:
                await self.database.run(self._tell(project_id))
        retention = await self.one(project_id)
        if retention is None:
            raise _no_project(project_id)
        if retention.report is None or (hold is None and not retention.rule):
            raise BadInputError(f"{project_id} has no rule by which to sweep; set one with retentionSet", "project_id")
        return retention.report

    @database_query
    async def due(self) -> list[str]:
        """The projects whose sweep is due, or was left, those first that have waited longest."""
        match = {"due_at": {"$lte": times.now()}}
        found = self.database.retention.find(match, {"_id": 1}, sort=[("due_at", 1)], limit=_MOST_DUE)
        return [document["_id"] async for document in found]

    async def _tell(self, project_id: str) -> None:
        """Tell the audit log of a sweep that is over and removed something; none is forgotten, whoever was killed."""
        document = await self.database.retention.find_one({"_id": project_id, "sweep.is_told": {"$ne": True}})
        report = Retention.of(project_id, document).report
        if report is None or report.outcome is Outcome.RUNNING:
            return
        counts = asdict(report.counts)
        if any(counts.values()):
            began = times.to_text(report.started_at)
            audit.record_action("retention.sweep", project_id, outcome=str(report.outcome), started_at=began, **counts)
        told = {"_id": project_id, "sweep.started_at": report.started_at}
        await self.database.retention.update_one(told, {"$set": {"sweep.is_told": True}})

    async def _is_listed(self, project_id: str) -> bool:
        return await self.database.projects.find_one({"_id": project_id}, {"_id": 1}) is not None

    async def _check_listed(self, project_id: str) -> None:
        if not await self._is_listed(project_id):
            raise _no_project(project_id)


def _no_project(project_id: str) -> NotFoundError:
    return NotFoundError(f"there is no project {project_id}; nothing was ever stored in it", "project_id")
