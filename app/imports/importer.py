"""The import of one file."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from app.imports.batches import Batches, Target
from app.imports.lines import MAX_LINE, Item, Line, Spans, Thread, Trailer, item_of, lines_of
from app.imports.side_files import Progress, ProgressFile, Rejects
from stores.errors import BadInputError, StoreError

_OWN_ROW_PREFIX: Final = b'{"project_id":'
"""Start of the rows of LoomQL's own exports, which end with a trailer; Weave's exports have none."""

_TRUNCATED: Final = "the file ends in the middle of this line: it is truncated, and later rows are missing"


class Importing:
    """Imports one file from where an earlier run stopped; `on_progress` is called after each stored batch."""

    def __init__(self, source: Path, target: Target, progress_file: ProgressFile, folder: Path) -> None:
        self.progress = progress_file.read()
        self.rejects = Rejects(source, folder, self.progress.rejects_bytes)
        self._source = source
        self._project_id = target.project_id
        self._progress_file = progress_file
        self._batches = Batches(target, self._reject)

    async def run(self, on_progress: Callable[[Progress], object]) -> Progress:
        """Import the rest of the file and return the progress.

        Raises:
            BadInputError: the file has an unsupported format.
            UnavailableError, StoreTimeoutError: MongoDB is unreachable or too slow; the next run resumes here.
            ConflictError: concurrent writes conflicted repeatedly; the next run resumes here.
        """
        with closing(self.rejects):
            on_progress(self.progress)
            for line in lines_of(self._source, self.progress.offset, self.progress.line):
                await self._read_line(line)
                if self._batches.is_full:
                    await self._store(line)
                    on_progress(self.progress)
            await self._store()
            on_progress(self.progress)
        self._finish()
        return self.progress

    async def _read_line(self, line: Line) -> None:
        if not line.content.strip() and not line.is_too_long:
            return
        self.progress.is_ours = self.progress.is_ours or line.content.startswith(_OWN_ROW_PREFIX)
        try:
            item, unknown = self._item(line)
        except StoreError as error:
            self.progress.rows += 1
            self._reject(line, error)
            return
        self.progress.left_out.update(unknown)
        if isinstance(item, Trailer):
            self._end_export(item)
            return
        self.progress.rows += not isinstance(item, Spans)
        self.progress.stored.update(await self._batches.add(line, item))
        if isinstance(item, Thread):
            self.progress.stored["threads"] += 1

    def _item(self, line: Line) -> tuple[Item, list[str]]:
        if line.is_too_long:
            raise BadInputError(f"has more than {MAX_LINE:,} bytes, which no valid row has")
        try:
            return item_of(line.content, self._project_id)
        except BadInputError as error:
            if line.is_cut and error.argument is None:
                self.progress.complaints.append("it is truncated in the middle of its last line")
                raise BadInputError(_TRUNCATED) from error
            raise

    def _reject(self, line: Line, error: StoreError | str) -> None:
        self.progress.rejected += 1
        self.rejects.add(line.number, line.content, error)

    def _end_export(self, trailer: Trailer) -> None:
        self.progress.has_ended = True
        if trailer.problem is not None:
            self.progress.complaints.append(f"its export failed: {trailer.problem}")
        elif not trailer.is_resumed and trailer.count != self.progress.rows:
            self.progress.complaints.append(
                f"its trailer counts {trailer.count:,} rows, but the file has {self.progress.rows:,}"
            )
        self.progress.rows = 0

    async def _store(self, line: Line | None = None) -> None:
        """Store the batches and save the progress up to the end of a line."""
        self.progress.stored.update(await self._batches.store())
        self.progress.rejects_bytes = self.rejects.size()
        if line:
            self.progress.offset, self.progress.line = line.end, line.number
            self._progress_file.keep(self.progress)

    def _finish(self) -> None:
        if self.progress.is_ours and (self.progress.rows or not self.progress.has_ended):
            self.progress.complaints.append(
                "it has no trailer, so it is truncated, and rows after its last line are missing"
            )
        self.progress.offset = self._source.stat().st_size
        self._progress_file.delete()
