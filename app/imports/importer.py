"""One file on its way into the database."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from app.imports.batches import Batches, Target
from app.imports.progress import Progress, ProgressFile
from app.imports.rejects import Rejects
from app.imports.row_types import Item, Spans, Thread, Trailer, item_of
from app.imports.sources import MAX_LINE, Line, lines_of
from stores.errors import BadInputError, StoreError

_OUR_LINES: Final = b'{"project_id":'
"""How the lines of LoomQL's own exports begin, all of which end with a line that says so; those of Weave have none."""

_CUT: Final = "the file ends in the middle of this line: it was cut off, and what came after is missing"


class Importing:
    """The import of one file, from where it was left if it was cut off; `told` hears of each offset that is stored."""

    def __init__(self, source: Path, target: Target, kept: ProgressFile, folder: Path) -> None:
        self.progress = kept.read()
        self.rejects = Rejects(source, folder, self.progress.rejects_bytes)
        self._source = source
        self._project_id = target.project_id
        self._kept = kept
        self._batches = Batches(target, self._reject)

    async def run(self, told: Callable[[Progress], object]) -> Progress:
        """Store what is left of it.

        Raises:
            BadInputError: the file is of a kind that cannot be imported.
            UnavailableError, StoreTimeoutError: the database is away or too slow; the next run goes on from here.
            ConflictError: others wrote the same again and again; likewise.
        """
        with closing(self.rejects):
            told(self.progress)
            for line in lines_of(self._source, self.progress.offset, self.progress.line):
                await self._take(line)
                if self._batches.is_full:
                    await self._store(line)
                    told(self.progress)
            await self._store()
            told(self.progress)
        self._end()
        return self.progress

    async def _take(self, line: Line) -> None:
        if not line.content.strip() and not line.is_too_long:
            return
        self.progress.is_ours = self.progress.is_ours or line.content.startswith(_OUR_LINES)
        try:
            item, unknown = self._item(line)
        except StoreError as error:
            self.progress.rows += 1
            self._reject(line.number, line.content, error)
            return
        self.progress.left_out.update(unknown)
        if isinstance(item, Trailer):
            self._end_export(item)
            return
        self.progress.rows += not isinstance(item, Spans)
        self.progress.stored.update(await self._batches.add(line.number, line.content, item))
        if isinstance(item, Thread):
            self.progress.stored["threads"] += 1

    def _item(self, line: Line) -> tuple[Item, list[str]]:
        if line.is_too_long:
            raise BadInputError(f"has more than {MAX_LINE:,} bytes, and no row that can be stored has")
        try:
            return item_of(line.content, self._project_id)
        except BadInputError as error:
            if line.is_cut and error.argument is None:
                self.progress.complaints.append("it is cut off in the middle of its last line")
                raise BadInputError(_CUT) from error
            raise

    def _reject(self, number: int, content: bytes, error: StoreError | str) -> None:
        self.progress.rejected += 1
        self.rejects.add(number, content, error)

    def _end_export(self, trailer: Trailer) -> None:
        self.progress.has_ended = True
        if trailer.problem is not None:
            self.progress.complaints.append(f"its export failed: {trailer.problem}")
        elif not trailer.is_resumed and trailer.count != self.progress.rows:
            self.progress.complaints.append(
                f"its export had {trailer.count:,} rows, and there are {self.progress.rows:,}"
            )
        self.progress.rows = 0

    async def _store(self, line: Line | None = None) -> None:
        """Store what is gathered, and keep that all is stored up to the end of a line."""
        self.progress.stored.update(await self._batches.store())
        self.progress.rejects_bytes = self.rejects.size()
        if line:
            self.progress.offset, self.progress.line = line.end, line.number
            self._kept.keep(self.progress)

    def _end(self) -> None:
        if self.progress.is_ours and (self.progress.rows or not self.progress.has_ended):
            self.progress.complaints.append(
                "it lacks the line that ends an export, so it was cut off: what came after its last line is missing"
            )
        self.progress.offset = self._source.stat().st_size
        self._kept.forget()
