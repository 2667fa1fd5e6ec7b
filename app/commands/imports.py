"""`loomql import`: imports files into the database, with a progress bar and a summary."""

import hashlib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from app.commands.common import Add, data_folder, on_database, say, settings_of
from app.imports import Importing, Progress, Target
from app.mongodb import data_location
from app.settings import Settings
from graphql_schema.context import Stores
from stores.database import Database
from stores.errors import BadInputError
from stores.ids import check_project_id


def add_commands(add: Add) -> None:
    """Add `import`."""
    text = "store exported rows, calls of Weave exports, and OTLP JSON"
    parser = add("import", import_files, parents=[data_folder()], help=text)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="files; LoomQL detects their formats")
    parser.add_argument("--project", help="target project (default: the project of each row)")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="FOLDER",
        help="folder for rejected rows and progress files (default: that of each file)",
    )


def import_files(options: Namespace) -> int:
    """Import files; return 3 if a line was rejected or a file is incomplete."""
    console = Console(stderr=True)
    imported = run_import(settings_of(options), options.files, options.project, options.beside, console)
    say(*(line for each in imported for line in each.summary()))
    return 0 if all(each.is_whole for each in imported) else 3


def run_import(
    settings: Settings, sources: Sequence[Path], project_id: str | None, folder: Path | None, console: Console
) -> list[Importing]:
    """Import files one after the other, each from where an earlier run stopped.

    The files of rejected lines and of progress lie next to each file, or in `folder`.

    Raises:
        BadInputError: a file has an unsupported format, two have the same name, or the project id is invalid.
        UnavailableError, StoreTimeoutError: MongoDB is unreachable or too slow.
        ConflictError: concurrent writes conflicted repeatedly.
        OSError: a file cannot be read.
    """
    if project_id is not None:
        check_project_id(project_id)
    paths = [(folder or source.parent) / source.name for source in sources]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise BadInputError(f"two files would write their rejected lines to {twice}; import them in separate commands")
    for source in sources:
        source.open("rb").close()
    name = f"{data_location(settings)} {project_id} {settings.otlp_entity}"
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())

    async def work(database: Database) -> list[Importing]:
        await database.ensure_indexes()
        target = Target(Stores(database), project_id, settings.otlp_entity)
        with Bars(*columns, console=console) as bars:
            return [await _import(source, target, name, folder, bars) for source in sources]

    return on_database(settings, work)


async def _import(source: Path, target: Target, name: str, folder: Path | None, bars: Bars) -> Importing:
    output_folder = folder or source.parent
    importing = Importing(source, target, hashlib.sha256(name.encode()).hexdigest(), output_folder)
    bar = bars.add_task(source.name, total=importing.source_size)

    def show(progress: Progress) -> None:
        bars.update(bar, completed=progress.offset, description=f"{source.name}: {progress.text}")

    await importing.run(show)
    return importing
