"""`loomql retention`: retention rules of projects and their sweeps. `loomql project`: removal of a whole project."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.text import Text

from app.commands.common import Add, actions_of, data_folder, on_stores, project, say, settings_of
from graphql_schema.context import Stores
from stores import times
from stores.errors import NotFoundError
from stores.purges import PurgeReport
from stores.retention import Counts, Outcome, Report, Retention, Rule
from stores.retention.rules import COUNTS

_POLL_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 5
"""Seconds between lines of progress if the output is not a terminal."""


def add_commands(add: Add) -> None:
    """Add `retention` and `project`."""
    action = actions_of(add, "retention", "manage the retention rules of projects")
    of_one, rule = [project(), data_folder()], ArgumentParser(add_help=False)
    rule.add_argument("--keep-days", type=int, metavar="N", help="days to keep")
    rule.add_argument("--keep-calls", type=int, metavar="N", help="number of newest calls to keep")
    setting = action("set", set_rule, parents=[*of_one, rule], help="set the rule of a project; replaces the old rule")
    setting.set_defaults(usage_error=setting.error)
    action("drop", drop_rule, parents=of_one, help="drop the rule of a project; LoomQL then keeps everything")
    action("preview", preview, parents=[*of_one, rule], help="show what a rule would remove now")
    action("sweep", sweep, parents=of_one, help="apply the rule now")
    showing = action("show", show, parents=[data_folder()], help="show the rules and their last sweeps")
    showing.add_argument(
        "project", metavar="PROJECT", nargs="?", help="entity/project (default: all projects with a rule)"
    )
    action = actions_of(add, "project", "purge a project")
    text = "delete a project with all its data; this cannot be undone"
    purging = action("purge", purge, parents=[project(), data_folder()], help=text)
    purging.add_argument("--confirm", metavar="PROJECT", help="the project again, to confirm without a prompt")


def purge(options: Namespace) -> int:
    """Purge a project after its id was confirmed, and print what was removed."""
    project_id, confirm = options.project, options.confirm
    if confirm is None and sys.stdin.isatty():
        confirm = input(f"This permanently removes all data of {project_id}. Repeat its id to continue: ")
    console = Console(stderr=True, soft_wrap=True)
    pause = _POLL_SECONDS if console.is_terminal else _LINE_SECONDS
    with console.status(Text(f"Purging {project_id} …")) as status:

        def show(progress: str) -> None:
            line = Text(f"Purging {project_id}: {progress} …")
            if console.is_terminal:
                status.update(line)
            else:
                console.print(line)

        report = on_stores(
            settings_of(options), lambda stores: _purge_with_progress(stores, project_id, confirm or "", show, pause)
        )
    return say(f"Removed {project_id}: {_counted(report)}.")


async def _purge_with_progress(
    stores: Stores, project_id: str, confirm: str, show: Callable[[str], None], pause_seconds: float
) -> PurgeReport:
    """Purge a project and call `show` with the progress periodically."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(pause_seconds)
            report = await stores.purges.last(project_id)
            if report and not report.is_done:
                show(_progress(report))

    watching = asyncio.create_task(watch())
    try:
        return await stores.purges.purge(project_id, confirm)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)  # the purge itself raises the same error


def _progress(report: PurgeReport) -> str:
    removed = f"removed {_counted(report)}"
    if report.waits_until is None:
        return removed
    left = max(0, report.waits_until - times.now()) / times.SECOND
    return f"{removed}; waiting {left:.0f} s until all servers know of the purge"


def _counted(report: PurgeReport) -> str:
    return ", ".join(
        f"{getattr(report.removed, name):,} {name.replace('_', ' ')}"
        for name in type(report.removed).__dataclass_fields__
    )


def set_rule(options: Namespace) -> int:
    """Set the retention rule of a project."""
    rule = Rule(options.keep_days, options.keep_calls)
    if not rule:
        options.usage_error("set --keep-days, --keep-calls or both; `loomql retention drop` removes a rule")
    return _set(options, rule)


def drop_rule(options: Namespace) -> int:
    """Drop the retention rule of a project."""
    return _set(options, Rule())


def _set(options: Namespace, rule: Rule) -> int:
    return say(
        *_lines(on_stores(settings_of(options), lambda stores: stores.retention.set_rule(options.project, rule)))
    )


def show(options: Namespace) -> int:
    """Print the rule and last sweep of a project, or of all projects with a rule."""

    async def read(stores: Stores) -> list[Retention]:
        if options.project is None:
            return await stores.retention.all()
        found = await stores.retention.one(options.project)
        if found is None:
            raise NotFoundError(f"project {options.project} does not exist", "project")
        return [found]

    found = on_stores(settings_of(options), read)
    return say(*[line for retention in found for line in _lines(retention)] or ["No project has a rule."])


def preview(options: Namespace) -> int:
    """Print what a rule, or the project's own, would remove."""
    project_id, rule = options.project, Rule(options.keep_days, options.keep_calls)
    with Console(stderr=True).status(Text(f"Reading {project_id} …")):
        counts = on_stores(settings_of(options), lambda stores: stores.retention.preview(project_id, rule, COUNTS))
    return say(f"{project_id} would lose {_listed(counts)}.")


def sweep(options: Namespace) -> int:
    """Sweep a project, or wait for a server that sweeps it, and print what was removed."""
    project_id = options.project

    async def sweep_to_end(stores: Stores) -> Report:
        report = await stores.retention.sweep(project_id)
        while report.outcome is Outcome.RUNNING:
            await asyncio.sleep(1)
            report = await stores.retention.sweep(project_id)
        return report

    with Console(stderr=True).status(Text(f"Sweeping {project_id} …")):
        report = on_stores(settings_of(options), sweep_to_end)
    took = ((report.ended_at or report.started_at) - report.started_at) / times.SECOND
    why = f" ({report.error})" if report.error else ""
    ended = f"{report.outcome.capitalize()} after {took:.1f} s{why}"
    return say(f"{ended}. Removed from {project_id}: {_listed(report.counts)}.")


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
        lines.append(f"  Last sweep: {began}, {report.outcome}{why}; removed: {_listed(report.counts)}.")
    return lines


def _listed(counts: Counts) -> str:
    return (
        f"{counts.traces:,} traces of {counts.calls:,} calls ({counts.trace_bytes:,} bytes), "
        f"{counts.hidden_calls:,} calls deleted earlier, {counts.feedback:,} feedback items, "
        f"{counts.files:,} files ({counts.file_bytes:,} bytes)"
    )
