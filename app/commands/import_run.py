"""`loomql import`: files into the database, with a progress bar, and what became of them in a few lines."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from app.commands.database_access import on_database
from app.imports.batches import Target
from app.imports.importer import Importing
from app.imports.progress import Progress, ProgressFile
from app.mongodb import whereabouts
from app.settings import Settings
from graphql_schema.context import Stores
from stores.database import Database
from stores.errors import BadInputError
from stores.ids import check_project_id

SOME_LEFT: Final = 3
"""The exit code where lines were rejected, or a file was found not to be whole."""

_NOTHING: Final = "nothing"
_SINGULAR: Final = {"calls": "call", "objects": "object", "threads": "thread", "requests of spans": "request of spans"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file."""

    source: Path
    progress: Progress
    rejects: Path

    @property
    def is_whole(self) -> bool:
        """Whether all that there should be is stored."""
        return not self.progress.rejected and not self.progress.complaints

    def lines(self) -> Iterator[str]:
        """The same for people."""
        progress = self.progress
        yield f"{self.source}: {_listed(progress)} stored."
        if progress.stored["threads"]:
            yield "  Threads are not stored by themselves: their calls make them."
        for name, count in sorted(progress.left_out.items()):
            yield f"  The field {name} was left out of {count:,} rows: there is no place for it."
        for complaint in progress.complaints:
            yield f"  It is not whole: {complaint}."
        if progress.rejected:
            yield f"  {_number(progress.rejected, 'line')} rejected: {self.rejects} says which, and why."


def run_import(
    settings: Settings, sources: Sequence[Path], project_id: str | None, folder: Path | None, console: Console
) -> list[Outcome]:
    """Import files one after the other, from where each was left; rejects and progress go beside them or into a folder.

    Raises:
        BadInputError: a file is of a kind that cannot be imported, is there twice by its name, or the project's id
            breaks a rule.
        UnavailableError, StoreTimeoutError: the database is away or too slow.
        ConflictError: others wrote the same again and again.
        OSError: a file cannot be read.
    """
    if project_id is not None:
        check_project_id(project_id)
    _check_names(sources, folder)
    for source in sources:
        source.open("rb").close()
    name = f"{whereabouts(settings)} {project_id} {settings.otlp_entity}"
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())

    async def work(database: Database) -> list[Outcome]:
        await database.ensure_indexes()
        target = Target(Stores.for_database(database), project_id, settings.otlp_entity)
        with Bars(*columns, console=console) as bars:
            return [await _import(source, target, name, folder, bars) for source in sources]

    return on_database(settings, work)


async def _import(source: Path, target: Target, name: str, folder: Path | None, bars: Bars) -> Outcome:
    beside = folder or source.parent
    kept = ProgressFile(source, beside, hashlib.sha256(name.encode()).hexdigest())
    importing = Importing(source, target, kept, beside)
    bar = bars.add_task(source.name, total=kept.source_size)

    def tell(progress: Progress) -> None:
        bars.update(bar, completed=progress.offset, description=f"{source.name}: {_listed(progress)}")

    progress = await importing.run(tell)
    tell(progress)
    return Outcome(source, progress, importing.rejects.path)


def _check_names(sources: Sequence[Path], folder: Path | None) -> None:
    places = [(folder or source.parent) / source.name for source in sources]
    for place in places:
        if places.count(place) > 1:
            raise BadInputError(f"two files would leave their rejects at {place}; import them by two commands")


def _listed(progress: Progress) -> str:
    counts = [_number(count, kind) for kind, count in progress.stored.items() if count and kind != "threads"]
    return ", ".join(counts) or _NOTHING


def _number(count: int, kind: str) -> str:
    noun = _SINGULAR.get(kind, kind) if count == 1 else kind
    if kind == "line":
        noun = "line is" if count == 1 else "lines are"
    return f"{count:,} {noun}"
