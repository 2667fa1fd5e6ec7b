"""`loomql import`: imports files into the database, with a progress bar and a summary."""

import hashlib
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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

_SINGULAR: Final = {"calls": "call", "objects": "object", "threads": "thread", "requests of spans": "request of spans"}


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
    outcomes = run_import(settings_of(options), options.files, options.project, options.beside, console)
    say(*(line for outcome in outcomes for line in outcome.lines()))
    return 0 if all(outcome.is_whole for outcome in outcomes) else 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of importing one file."""

    source: Path
    progress: Progress
    rejects: Path

    @property
    def is_whole(self) -> bool:
        """True if everything in the file was stored."""
        return not self.progress.rejected and not self.progress.complaints

    def lines(self) -> Iterator[str]:
        """Yield the summary for people."""
        progress = self.progress
        yield f"{self.source}: {_listed(progress)} stored."
        if progress.stored["threads"]:
            yield "  Threads were skipped: they consist of their calls."
        for name, count in sorted(progress.left_out.items()):
            yield f"  The unknown field {name} of {count:,} rows was ignored."
        for complaint in progress.complaints:
            yield f"  It is incomplete: {complaint}."
        if progress.rejected:
            yield f"  {_number(progress.rejected, 'line')} rejected: {self.rejects} lists them with reasons."


def run_import(
    settings: Settings, sources: Sequence[Path], project_id: str | None, folder: Path | None, console: Console
) -> list[Outcome]:
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

    async def work(database: Database) -> list[Outcome]:
        await database.ensure_indexes()
        target = Target(Stores(database), project_id, settings.otlp_entity)
        with Bars(*columns, console=console) as bars:
            return [await _import(source, target, name, folder, bars) for source in sources]

    return on_database(settings, work)


async def _import(source: Path, target: Target, name: str, folder: Path | None, bars: Bars) -> Outcome:
    output_folder = folder or source.parent
    importing = Importing(source, target, hashlib.sha256(name.encode()).hexdigest(), output_folder)
    bar = bars.add_task(source.name, total=importing.source_size)

    def show(progress: Progress) -> None:
        bars.update(bar, completed=progress.offset, description=f"{source.name}: {_listed(progress)}")

    progress = await importing.run(show)
    show(progress)
    return Outcome(source, progress, importing.rejects.path)


def _listed(progress: Progress) -> str:
    counts = [_number(count, kind) for kind, count in progress.stored.items() if count and kind != "threads"]
    return ", ".join(counts) or "nothing"


def _number(count: int, kind: str) -> str:
    noun = _SINGULAR.get(kind, kind) if count == 1 else kind
    if kind == "line":
        noun = "line is" if count == 1 else "lines are"
    return f"{count:,} {noun}"
