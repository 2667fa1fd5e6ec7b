"""Loading of the demo data from the command line, through the same stores as requests."""

import asyncio

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from app import demo
from app.commands.database_access import opened
from app.settings import Settings
from graphql_schema.context import Stores


def load_demo(
    settings: Settings, uri: str, project_id: str = demo.PROJECT_ID, *, only_if_missing: bool = False
) -> bool:
    """Write the demo data to a project, with a progress bar; return True if calls were written.

    Loading twice leaves one copy, because ids are fixed and the rest is addressed by content. With `only_if_missing`,
    existing calls are kept, and only data that an earlier version did not have is added.
    """
    return asyncio.run(_load(settings, uri, project_id, only_if_missing=only_if_missing))


async def _load(settings: Settings, uri: str, project_id: str, *, only_if_missing: bool) -> bool:
    async with opened(settings, uri) as database:
        await database.ensure_indexes()
        stores = Stores.for_database(database)
        if only_if_missing and await demo.is_loaded(stores.calls, project_id):
            await demo.complete(stores, project_id)
            return False
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns) as bar:
            task = bar.add_task(f"Demo calls into {project_id}", total=None)
            await demo.load(stores, project_id, lambda done, total: bar.update(task, completed=done, total=total))
        return True
