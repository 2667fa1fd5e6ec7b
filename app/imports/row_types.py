"""What a line is: a call, a version of an object, feedback, spans, a thread, or the end of an export."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.exports.export import TRAILER
from stores.calls.restore import RestoredCall
from stores.errors import BadInputError
from stores.exports.calls_format import CALL_COLUMNS, restored_of
from stores.exports.columns import CURSOR, Columns
from stores.exports.feedback_format import FEEDBACK_COLUMNS, new_of
from stores.exports.objects_format import OBJECT_COLUMNS, version_of
from stores.exports.row_reader import ImportedRow
from stores.feedback import NewFeedback
from stores.json import codec
from stores.objects.restore import RestoredVersion

_SPANS: Final = ("resourceSpans", "resource_spans")
_CALL: Final = {"op_name", "trace_id"}
_OBJECT: Final = {"object_id", "digest"}
_FEEDBACK: Final = {"feedback_type", "weave_ref"}
_THREAD: Final = {"thread_id", "turn_count"}

_MADE_ANEW: Final = {CURSOR, "deleted_at", "storage_size_bytes", "total_storage_size_bytes", "size_bytes"}
"""What rows may have that is not stored, and that nobody misses."""


@dataclass(frozen=True, slots=True)
class Spans:
    """A request of OTLP in JSON, as OpenTelemetry's collector writes them to files."""

    request: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread, which is not stored: its calls make it."""


@dataclass(frozen=True, slots=True)
class Trailer:
    """The line that ends an export; `count` is how many rows it says there are, `problem` what it says went wrong.

    Of an export that went on after a cursor it counts a part only.
    """

    count: int
    is_resumed: bool
    problem: str | None


Item = RestoredCall | RestoredVersion | NewFeedback | Spans | Thread | Trailer


def item_of(content: bytes, project_id: str | None) -> tuple[Item, list[str]]:
    """What a line is, on its way into a project (or its own), and which of its fields it has no place for.

    Raises:
        BadInputError: it is no JSON, none of all these, or one of its fields has the wrong type.
    """
    row = codec.loads(content)
    if not isinstance(row, dict):
        raise BadInputError("must be a JSON object: a row of an export, or a request of OTLP")
    if TRAILER in row:
        return _trailer(row[TRAILER]), []
    if any(name in row for name in _SPANS):
        return Spans(row), []
    return _row(row, ImportedRow(row, project_id))


def _row(row: Mapping[str, Any], fields: ImportedRow) -> tuple[Item, list[str]]:
    names = row.keys()
    if row.get("deleted_at") is not None:
        raise BadInputError("is set: this row is deleted, and is not imported", "deleted_at")
    if names >= _OBJECT:
        return version_of(fields), _unknown(row, OBJECT_COLUMNS)
    if names >= _FEEDBACK:
        return new_of(fields), _unknown(row, FEEDBACK_COLUMNS)
    if names >= _CALL:
        return restored_of(fields), _unknown(row, CALL_COLUMNS)
    if names >= _THREAD:
        return Thread(), []
    raise BadInputError(
        "is no row of calls (which have op_name and trace_id), objects (object_id, digest), feedback (feedback_type, "
        "weave_ref) or threads (thread_id, turn_count), and no request of OTLP (resourceSpans)"
    )


def _unknown(row: Mapping[str, Any], columns: Columns) -> list[str]:
    return [name for name in row if row[name] is not None and name not in columns.names and name not in _MADE_ANEW]


def _trailer(says: object) -> Trailer:
    says = says if isinstance(says, dict) else {}
    count = says.get("count")
    error = says.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    problem = None if says.get("complete") is True else str(message or "it does not say why")
    return Trailer(count if isinstance(count, int) else 0, says.get("resumed") is True, problem)
