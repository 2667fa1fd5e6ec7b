"""`loomql project`: removal of a whole project."""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.text import Text

from app.commands.database_access import on_stores
from app.commands.options import Add, actions_of, data_folder, project, say, settings_of
from graphql_schema.context import Stores
from stores import times
from stores.purges import PurgeReport

_POLL_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 5
"""Seconds between lines of progress if the output is not a terminal."""


def add_project(add: Add) -> None:
    """Add `project` and its action."""
    action = actions_of(add("project", help="purge a project"))
    purging = action(
        "purge", parents=[project(), data_folder()], help="delete a project with all its data; this cannot be undone"
    )
    purging.add_argument("--confirm", metavar="PROJECT", help="the project again, to confirm without a prompt")
    purging.set_defaults(command=purge)


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
