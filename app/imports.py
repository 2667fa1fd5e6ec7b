"""The import of one file: its lines, the batches that store them, its saved progress, and its rejected lines."""

import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, Final

from app.exports.worker import TRAILER
from graphql_schema.context import Stores
from stores.calls.store import RestoredCall
from stores.errors import BadInputError, ConflictError, StoreError, StoreTimeoutError, UnavailableError
from stores.exports import (
    CALL_COLUMNS,
    CURSOR,
    FEEDBACK_COLUMNS,
    OBJECT_COLUMNS,
    Columns,
    ImportedRow,
    to_new_feedback,
    to_restored_call,
    to_restored_version,
)
from stores.feedback import NewFeedback
from stores.json import codec
from stores.objects.store import RestoredVersion
from stores.otel import Projects

MAX_LINE: Final = 64 * 1024 * 1024
MAX_DOCUMENT: Final = 256 * 1024 * 1024

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Byte order mark that some editors write at the start of UTF-8 text."""

_PREFIX_BYTES: Final = 64 * 1024
_SPANS_DOCUMENT: Final = re.compile(rb'\{\s*"resource_?[sS]pans"\s*:')
_WHOLE_LINE: Final = re.compile(rb"\{.*\}\s*\Z", re.DOTALL)

_OTHER_FORMATS: Final = {
    b"PAR1": "is a Parquet file, which cannot be imported; export NDJSON instead",
    b"\x1f\x8b": "is compressed; decompress it first (gunzip -k)",
    b"PK\x03\x04": "is a ZIP archive; unpack it first",
    b"[": "is a JSON array; write one object per line instead (jq -c '.[]')",
}

_SPANS: Final = ("resourceSpans", "resource_spans")
_THREAD: Final = {"thread_id", "turn_count"}

_COMPUTED: Final = {CURSOR, "deleted_at", "storage_size_bytes", "total_storage_size_bytes", "size_bytes"}
"""Fields of rows that are not stored, because they are computed anew."""

_Convert = Callable[[ImportedRow], RestoredVersion | NewFeedback | RestoredCall]

_ROWS: Final[tuple[tuple[set[str], Columns, _Convert], ...]] = (
    ({"object_id", "digest"}, OBJECT_COLUMNS, to_restored_version),
    ({"feedback_type", "weave_ref"}, FEEDBACK_COLUMNS, to_new_feedback),
    ({"op_name", "trace_id"}, CALL_COLUMNS, to_restored_call),
)
"""By kind of row: the fields that distinguish it, its columns and its conversion."""


@dataclass(frozen=True, slots=True)
class Spans:
    """An OTLP request in JSON, as OpenTelemetry's collector writes it to files."""

    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread, which is not stored: it consists of its calls."""


@dataclass(frozen=True, slots=True)
class Trailer:
    """The last line of an export; `count` is its number of rows, `problem` the reason of a failed export.

    For an export that was resumed after a cursor, `count` covers only the rows after it.
    """

    count: int
    is_resumed: bool
    problem: str | None


Item = RestoredCall | RestoredVersion | NewFeedback | Spans | Thread | Trailer


def item_of(content: bytes, project_id: str | None) -> tuple[Item, list[str]]:
    """Parse a line; return the item, and the names of unknown fields. `project_id` None keeps the row's own.

    Raises:
        BadInputError: the line is not JSON, is of no known type, or a field has the wrong type.
    """
    row = codec.loads(content)
    if not isinstance(row, dict):
        raise BadInputError("must be a JSON object: a row of an export or an OTLP request")
    if TRAILER in row:
        return _trailer(row[TRAILER]), []
    if any(name in row for name in _SPANS):
        return Spans(row), []
    return _row(row, project_id)


def _row(row: Mapping[str, Any], project_id: str | None) -> tuple[Item, list[str]]:
    if row.get("deleted_at") is not None:
        raise BadInputError("is set: deleted rows are not imported", "deleted_at")
    for marks, columns, convert in _ROWS:
        if row.keys() >= marks:
            known, others = columns.kinds, _COMPUTED
            unknown = [name for name in row if row[name] is not None and name not in known and name not in others]
            return convert(ImportedRow(row, columns, project_id)), unknown
    if row.keys() >= _THREAD:
        return Thread(), []
    raise BadInputError(
        "is not a row of calls (which have op_name and trace_id), objects (object_id, digest), feedback "
        "(feedback_type, weave_ref) or threads (thread_id, turn_count), nor an OTLP request (resourceSpans)"
    )


def _trailer(content: object) -> Trailer:
    content = content if isinstance(content, dict) else {}
    count = content.get("count")
    error = content.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    problem = None if content.get("complete") is True else str(message or "no reason given")
    return Trailer(count if isinstance(count, int) else 0, content.get("resumed") is True, problem)


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its number from 1 and the offset of its end; `is_cut` if the file ends without a newline.

    A line of more than `MAX_LINE` bytes has `is_too_long` and no content.
    """

    number: int
    content: bytes
    end: int
    is_cut: bool = False
    is_too_long: bool = False


def lines_of(path: Path, offset: int = 0, number: int = 0) -> Iterator[Line]:
    """Yield the lines of a file after an offset, at the end of line `number`; a document of spans is one line.

    Raises:
        BadInputError: the file has an unsupported format.
        OSError: it cannot be read.
    """
    if _is_document(path):
        if offset == 0:
            content = path.read_bytes()
            yield Line(1, content.removeprefix(_BYTE_ORDER_MARK), len(content))
        return
    with path.open("rb") as file:
        file.seek(offset)
        while content := file.readline(MAX_LINE + 1):
            number += 1
            offset += len(content)
            content = content.removeprefix(_BYTE_ORDER_MARK) if number == 1 else content
            is_too_long = len(content) > MAX_LINE
            while is_too_long and not content.endswith(b"\n") and (content := file.readline(MAX_LINE)):
                offset += len(content)
            yield Line(number, b"" if is_too_long else content, offset, not content.endswith(b"\n"), is_too_long)


def _is_document(path: Path) -> bool:
    """Return True if a file is one request of spans whose JSON spans lines."""
    with path.open("rb") as file:
        prefix = file.read(_PREFIX_BYTES).removeprefix(_BYTE_ORDER_MARK).lstrip()
        size = file.seek(0, 2)
    for mark, problem in _OTHER_FORMATS.items():
        if prefix.startswith(mark):
            raise BadInputError(f"{path} {problem}")
    first, newline, _ = prefix.partition(b"\n")
    if not _SPANS_DOCUMENT.match(prefix) or not newline or _WHOLE_LINE.fullmatch(first):
        return False
    if size > MAX_DOCUMENT:
        raise BadInputError(
            f"{path} is one JSON document of {size:,} bytes; the limit is {MAX_DOCUMENT:,}. Write one request per line"
        )
    return True


_SINGULAR: Final = {"calls": "call", "objects": "object", "requests of spans": "request of spans"}

logger = logging.getLogger("loomql")


@dataclass(slots=True)
class Progress:
    """Progress up to byte `offset`, which is the end of line `line`; `stored` counts rows by kind.

    `rows` counts the rows since the last trailer, and `complaints` lists problems of the file.
    """

    offset: int = 0
    line: int = 0
    rejected: int = 0
    rejects_bytes: int = 0
    rows: int = 0
    is_ours: bool = False
    has_ended: bool = False
    stored: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The counts of what is stored, for people."""
        stored = [(kind, count) for kind, count in self.stored.items() if count and kind != "threads"]
        counts = [f"{count:,} {_SINGULAR.get(kind, kind) if count == 1 else kind}" for kind, count in stored]
        return ", ".join(counts) or "nothing"


class ProgressFile:
    """The saved progress of one file; `target` identifies the destination."""

    def __init__(self, source: Path, folder: Path, target: str) -> None:
        self._path = folder / f"{source.name}.loomql-import"
        status = source.stat()
        self._identity = hashlib.sha256(repr((status.st_size, status.st_mtime_ns, target)).encode()).hexdigest()
        self._has_warned = False

    def read(self) -> Progress:
        """Return the saved progress; a new one if it is missing, or of another file or target."""
        try:
            saved = json.loads(self._path.read_bytes())
            if saved.pop("of") != self._identity:
                return Progress()
            stored, left_out = (Counter[str](saved.pop(name)) for name in ("stored", "left_out"))
            return Progress(**saved, stored=stored, left_out=left_out)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Progress()

    def keep(self, progress: Progress) -> None:
        """Save the progress; without it the next run starts from the beginning, which does no harm."""
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            saved = {each.name: getattr(progress, each.name) for each in fields(progress)}
            new.write_text(json.dumps({"of": self._identity, **saved}))
            new.replace(self._path)
        except OSError as error:
            if not self._has_warned:
                logger.warning("the import progress cannot be saved (%s): an interrupted import will restart", error)
            self._has_warned = True

    def delete(self) -> None:
        """Delete the progress of a fully imported file."""
        self._path.unlink(missing_ok=True)


class Rejects:
    """The file of rejects, created with the first one; on resuming, everything after `kept` bytes is removed."""

    def __init__(self, source: Path, folder: Path, kept: int) -> None:
        self.path = folder / f"{source.name}.rejects.ndjson"
        self._file: BinaryIO | None = None
        if kept and self.path.exists():
            # The user may have shortened the file meanwhile.
            os.truncate(self.path, min(kept, self.size()))
        else:
            self.path.unlink(missing_ok=True)

    def add(self, number: int, content: bytes, error: StoreError | str) -> None:
        """Append a rejected line."""
        entry: dict[str, object] = {"line": number}
        if isinstance(error, StoreError):
            entry |= {"error": error.message, "argument": error.argument, "code": error.code}
        else:
            entry["error"] = error
        entry["content"] = content.decode("utf-8", "backslashreplace").rstrip("\n")
        if self._file is None:
            self._file = self.path.open("ab")  # once: an open for each line takes more time than the line
        self._file.write(codec.dumps(entry) + b"\n")

    def size(self) -> int:
        """Flush the file and return its size in bytes; 0 if there is none."""
        if self._file:
            self._file.flush()
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


_MAX_LINES: Final = 500
_MAX_BYTES: Final = 8 * 1024 * 1024

_Write = Callable[[Sequence[Any]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Target:
    """The target project of an import, None for that of each row; spans without one go to `otlp_entity`."""

    stores: Stores
    project_id: str | None
    otlp_entity: str


class Batches:
    """The lines to store next, of each kind; `reject` gets a line, and the reason why it was rejected."""

    def __init__(self, target: Target, reject: Callable[[Line, StoreError | str], object]) -> None:
        self._target = target
        self._reject = reject
        stores = target.stores
        self._writes: dict[str, tuple[type, _Write]] = {
            "objects": (RestoredVersion, stores.objects.restore),
            "calls": (RestoredCall, stores.calls.restore),
            "feedback": (NewFeedback, stores.feedback.restore),
        }
        self._lines: list[tuple[Line, Item]] = []
        self._count = self._bytes = 0

    @property
    def is_full(self) -> bool:
        """True if the batches should be stored."""
        return self._count >= _MAX_LINES or self._bytes >= _MAX_BYTES

    async def add(self, line: Line, item: Item) -> dict[str, int]:
        """Add a line; return counts of what was stored immediately, by kind."""
        self._count += 1
        self._bytes += len(line.content)
        if isinstance(item, Spans):
            return await self._store_spans(line, item)
        self._lines.append((line, item))
        return {}

    async def store(self) -> dict[str, int]:
        """Store the batches and return the number of stored rows by kind.

        Raises:
            UnavailableError, StoreTimeoutError: MongoDB is unreachable or too slow; some rows may be stored.
            ConflictError: concurrent writes conflicted repeatedly; some rows may be stored.
        """
        lines, self._lines, self._count, self._bytes = self._lines, [], 0, 0
        return {
            name: await self._store(write, [each for each in lines if isinstance(each[1], kind)])
            for name, (kind, write) in self._writes.items()
        }

    async def _store(self, write: _Write, lines: list[tuple[Line, Item]]) -> int:
        """Store lines together, or one by one if one of them is rejected; return the number of stored lines."""
        if not lines:
            return 0
        try:
            await write([item for _, item in lines])
        except StoreError as error:
            if _is_temporary(error):
                raise
            if len(lines) > 1:
                return sum([await self._store(write, [each]) for each in lines])
            self._reject(lines[0][0], error.relative_to("batch.0"))
            return 0
        return len(lines)

    async def _store_spans(self, line: Line, spans: Spans) -> dict[str, int]:
        target = self._target
        try:
            projects = Projects(target.project_id, fixed=target.project_id is not None, entity=target.otlp_entity)
            exported = await target.stores.otel.export_json(spans.request, projects)
        except StoreError as error:
            if _is_temporary(error):
                raise
            self._reject(line, error)
            return {}
        if exported.rejected:
            reason = f"{exported.rejected:,} of its spans were rejected: {exported.error_message}"
            self._reject(line, reason)
        return {"requests of spans": 1}


def _is_temporary(error: StoreError) -> bool:
    """Return True if a failure is not caused by the line, which may be stored later."""
    # A permanent conflict names its argument.
    return isinstance(error, UnavailableError | StoreTimeoutError) or (
        isinstance(error, ConflictError) and error.argument is None
    )


_OWN_ROW_PREFIX: Final = b'{"project_id":'
"""Start of the rows of LoomQL's own exports, which end with a trailer; Weave's exports have none."""


class Importing:
    """Imports one file from where an earlier run to the target with this id stopped."""

    def __init__(self, source: Path, target: Target, target_id: str, folder: Path) -> None:
        self._progress_file = ProgressFile(source, folder, target_id)
        self.progress = self._progress_file.read()
        self.rejects = Rejects(source, folder, self.progress.rejects_bytes)
        self.source = source
        self.source_size = source.stat().st_size
        self._project_id = target.project_id
        self._batches = Batches(target, self._reject)

    @property
    def is_whole(self) -> bool:
        """True if everything in the file was stored."""
        return not self.progress.rejected and not self.progress.complaints

    def summary(self) -> Iterator[str]:
        """Yield the lines of a summary for people."""
        progress = self.progress
        yield f"{self.source}: {progress.text} stored."
        if progress.stored["threads"]:
            yield "  Threads were skipped: they consist of their calls."
        for name, count in sorted(progress.left_out.items()):
            yield f"  The unknown field {name} of {count:,} rows was ignored."
        for complaint in progress.complaints:
            yield f"  It is incomplete: {complaint}."
        if progress.rejected:
            are = "line is" if progress.rejected == 1 else "lines are"
            yield f"  {progress.rejected:,} {are} rejected: {self.rejects.path} lists them with reasons."

    async def run(self, on_progress: Callable[[Progress], object]) -> None:
        """Import the rest of the file.

        Raises:
            BadInputError: the file has an unsupported format.
            UnavailableError, StoreTimeoutError: MongoDB is unreachable or too slow; the next run resumes here.
            ConflictError: concurrent writes conflicted repeatedly; the next run resumes here.
        """
        with closing(self.rejects):
            on_progress(self.progress)
            for line in lines_of(self.source, self.progress.offset, self.progress.line):
                await self._read_line(line)
                if self._batches.is_full:
                    await self._store(line)
                    on_progress(self.progress)
            await self._store()
        self._finish()
        on_progress(self.progress)

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
                raise BadInputError(
                    "the file ends in the middle of this line: it is truncated, and later rows are missing"
                ) from error
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
        self.progress.offset = self.source.stat().st_size
        self._progress_file.delete()
