"""Type of an imported line: call, object version, feedback, spans, thread or trailer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.exports.export import TRAILER
from stores.calls.writes import RestoredCall
from stores.errors import BadInputError
from stores.exports.columns import CURSOR, Columns
from stores.exports.lists import CALL_COLUMNS, FEEDBACK_COLUMNS, OBJECT_COLUMNS
from stores.exports.row_reader import ImportedRow, to_new_feedback, to_restored_call, to_restored_version
from stores.feedback import NewFeedback
from stores.json import codec
from stores.objects.writes import RestoredVersion

_SPANS: Final = ("resourceSpans", "resource_spans")
_CALL: Final = {"op_name", "trace_id"}
_OBJECT: Final = {"object_id", "digest"}
_FEEDBACK: Final = {"feedback_type", "weave_ref"}
_THREAD: Final = {"thread_id", "turn_count"}

_COMPUTED: Final = {CURSOR, "deleted_at", "storage_size_bytes", "total_storage_size_bytes", "size_bytes"}
"""Fields of rows that are not stored, because they are computed anew."""


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
    return _row(row, ImportedRow(row, project_id))


def _row(row: Mapping[str, Any], fields: ImportedRow) -> tuple[Item, list[str]]:
    names = row.keys()
    if row.get("deleted_at") is not None:
        raise BadInputError("is set: deleted rows are not imported", "deleted_at")
    if names >= _OBJECT:
        return to_restored_version(fields), _unknown(row, OBJECT_COLUMNS)
    if names >= _FEEDBACK:
        return to_new_feedback(fields), _unknown(row, FEEDBACK_COLUMNS)
    if names >= _CALL:
        return to_restored_call(fields), _unknown(row, CALL_COLUMNS)
    if names >= _THREAD:
        return Thread(), []
    raise BadInputError(
        "is not a row of calls (which have op_name and trace_id), objects (object_id, digest), feedback "
        "(feedback_type, weave_ref) or threads (thread_id, turn_count), nor an OTLP request (resourceSpans)"
    )


def _unknown(row: Mapping[str, Any], columns: Columns) -> list[str]:
    return [name for name in row if row[name] is not None and name not in columns.names and name not in _COMPUTED]


def _trailer(content: object) -> Trailer:
    content = content if isinstance(content, dict) else {}
    count = content.get("count")
    error = content.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    problem = None if content.get("complete") is True else str(message or "no reason given")
    return Trailer(count if isinstance(count, int) else 0, content.get("resumed") is True, problem)
