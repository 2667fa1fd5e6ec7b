"""Lines of an imported file, and their types: call, object version, feedback, spans, thread or trailer."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.exports.export import TRAILER
from stores.calls.store import RestoredCall
from stores.errors import BadInputError
from stores.exports.lists import CALL_COLUMNS, CURSOR, FEEDBACK_COLUMNS, OBJECT_COLUMNS, Columns
from stores.exports.row_reader import ImportedRow, to_new_feedback, to_restored_call, to_restored_version
from stores.feedback import NewFeedback
from stores.json import codec
from stores.objects.store import RestoredVersion

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
