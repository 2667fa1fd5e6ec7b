"""`loomql retention` and `loomql project purge`: what is kept of projects, for the operator, beside a server or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from rich.console import Console
from rich.text import Text

from app.audit import log_as_command_line
from app.mongodb import shared_mongodb
from app.settings import Settings
from graphql_schema.context import Stores
from stores import times, versions
from stores.database import Database
from stores.errors import NotFoundError
from stores.retention import Counts, Outcome, Retention, Rule
from stores.retention.reports import COUNTS

_R = TypeVar("_R")

_NO_TIME_LIMIT: Final = 86_400.0
"""A person who waits for a dry run can end it."""


def set_rule(settings: Settings, project: str, rule: Rule) -> list[str]:
    """Give a project a rule, or with an empty one none; what is so now, for people."""
    return _lines(_on_stores(settings, lambda stores: stores.retention.set_rule(project, rule)))


def show(settings: Settings, project: str | None) -> list[str]:
    """What is kept of a project, or of all that have a rule, for people."""

    async def read(stores: Stores) -> list[Retention]:
        if project is None:
            return await stores.retention.all()
        found = await stores.retention.one(project)
        if found is None:
            raise NotFoundError(f"there is no project {project}", "project")
        return [found]

    found = _on_stores(settings, read)
    return [line for retention in found for line in _lines(retention)] or ["No project has a rule."]


def preview(settings: Settings, project: str, rule: Rule) -> list[str]:
    """What a rule, or the project's own, would remove, for people."""
    with Console(stderr=True).status(Text(f"Looking through {project} …")):
        counts = _on_stores(settings, lambda stores: stores.retention.preview(project, rule, COUNTS))
    return [f"Would go of {project}: {_told(counts)}."]


def sweep(settings: Settings, project: str) -> list[str]:
    """Sweep a project to the end, by this process or by a server that is at it; what went, for people."""

    async def work(stores: Stores) -> list[str]:
        report = await stores.retention.sweep(project)
        while report.outcome is Outcome.RUNNING:
            await asyncio.sleep(1)
            report = await stores.retention.sweep(project)
        took = ((report.ended_at or report.started_at) - report.started_at) / 1_000_000
        why = f" ({report.error})" if report.error else ""
        return [f"{report.outcome.capitalize()} after {took:.1f} s{why}. Gone of {project}: {_told(report.counts)}."]

    with Console(stderr=True).status(Text(f"Sweeping {project} …")):
        return _on_stores(settings, work)


def purge(settings: Settings, project: str, confirm: str) -> list[str]:
    """Remove a project with all that is in it; what went, for people."""
    with Console(stderr=True).status(Text(f"Purging {project} …")):
        report = _on_stores(settings, lambda stores: stores.purges.purge(project, confirm))
    removed = ", ".join(
        f"{getattr(report.removed, name):,} {name.replace('_', ' ')}"
        for name in type(report.removed).__dataclass_fields__
    )
    return [f"{project} is gone: {removed}."]


def _lines(retention: Retention) -> list[str]:
    rule, report = retention.rule, retention.report
    kept = [
        *([f"{rule.keep_days:,} days"] if rule.keep_days is not None else []),
        *([f"the {rule.keep_calls:,} newest calls"] if rule.keep_calls is not None else []),
    ]
    lines = [f"{retention.project_id} keeps {' and of those '.join(kept) or 'everything'}."]
    if report:
        began = times.to_text(report.started_at)
        why = f" ({report.error})" if report.error else ""
        lines.append(f"  Last sweep: {began}, {report.outcome}{why}; gone: {_told(report.counts)}.")
    return lines


def _told(counts: Counts) -> str:
    return (
        f"{counts.traces:,} traces of {counts.calls:,} calls ({counts.trace_bytes:,} bytes), "
        f"{counts.hidden_calls:,} calls deleted before, {counts.feedback:,} pieces of feedback, "
        f"{counts.files:,} files ({counts.file_bytes:,} bytes)"
    )


def _on_stores(settings: Settings, work: Callable[[Stores], Awaitable[_R]]) -> _R:
    async def run(uri: str) -> _R:
        database = Database.open(
            uri, settings.mongodb_database, settings.database_timeout_seconds, query_timeout_seconds=_NO_TIME_LIMIT
        )
        try:
            await versions.require(database)
            await database.ensure_indexes()
            return await work(Stores.over(database))
        finally:
            database.close()

    log_as_command_line(settings.audit_log)
    with shared_mongodb(settings) as uri:
        return asyncio.run(run(uri))
