"""`loomql serve` and `loomql demo`."""

import asyncio
from argparse import Namespace

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from app import demo
from app.commands.common import Add, data_folder, listening, opened, say, settings_of
from app.commands.server_process import serve
from app.demo import PROJECT_ID
from app.mongodb import data_location, shared_mongodb
from app.settings import Settings
from graphql_schema.context import Stores
from stores.ids import check_project_id


def add_commands(add: Add) -> None:
    """Add `serve` and `demo`."""
    parser = add("serve", run_server, parents=[listening()], help="run the server until Ctrl-C")
    parser.add_argument("--workers", type=int, help="number of server processes (LOOMQL_WORKERS)")
    parser.add_argument(
        "--demo", action="store_true", help=f"first load the demo into project {PROJECT_ID}, unless it exists"
    )
    parser = add("demo", run_demo, parents=[data_folder()], help="load demo calls with their objects and files")
    parser.add_argument("--project", default=PROJECT_ID, help="target project (default: %(default)s)")


def run_server(options: Namespace) -> int:
    """Run the server until a signal stops it."""
    settings = settings_of(options)
    serve(settings, prepare=lambda uri: options.demo and load_demo(settings, uri, only_if_missing=True))
    return 0


def run_demo(options: Namespace) -> int:
    """Load the demo data, also while a server runs."""
    settings = settings_of(options)
    check_project_id(options.project)
    with shared_mongodb(settings) as uri:
        load_demo(settings, uri, options.project)
    return say(f"The demo data is in project {options.project} of {data_location(settings)}.")


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
        stores = Stores(database)
        if only_if_missing and await demo.is_loaded(stores.calls, project_id):
            await demo.complete(stores, project_id)
            return False
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns) as bar:
            task = bar.add_task(f"Demo calls into {project_id}", total=None)
            await demo.load(stores, project_id, lambda done, total: bar.update(task, completed=done, total=total))
        return True
