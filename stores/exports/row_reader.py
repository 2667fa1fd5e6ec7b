"""Import of exported rows: their fields, checked for type, and their conversion to what a store restores."""

from collections.abc import Mapping
from typing import Any, Final

from stores import times
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.store import RestoredCall
from stores.errors import BadInputError, ErrorsAt
from stores.exports.lists import Columns
from stores.feedback import NewFeedback
from stores.json import AnyJson
from stores.json.bson_copy import INT64
from stores.objects import ObjectVersion
from stores.objects.classes import OBJECT, OP
from stores.objects.store import RestoredVersion
from stores.query.fields import Kind
from stores.refs import SCHEME

_DERIVED_KEYS: Final = ("status", "latency_ms", "trace_name", "display_name")
"""Keys under `weave` in a summary that every read computes."""

_JSON, _NUMBER, _TIME = Kind.JSON, Kind.NUMBER, Kind.TIME  # Python 3.11 looks up enum members slowly
_REQUIRED: Final = {
    *("project_id", "id", "op_name", "trace_id", "started_at", "weave_ref", "feedback_type", "created_at"),
    *("kind", "object_id", "digest", "version_index"),
}
_REFS: Final = frozenset({"op_name", "weave_ref", "annotation_ref", "runnable_ref", "call_ref", "trigger_ref"})
_OBJECTS: Final = frozenset({"attributes", "inputs", "summary"})
"""Fields with an empty object for a missing value."""


class ImportedRow:
    """The fields of one imported row, for its original project or for another one.

    JSON stays unchanged in either case, so that digests stay valid, and refs in it keep their targets. A ref in a field
    of its own moves to the new project if it led into the row's own project.
    """

    def __init__(self, row: Mapping[str, Any], columns: Columns, project_id: str | None = None) -> None:
        self.row = row
        self._kinds = columns.kinds
        self._project_id = project_id

    def values(self, names: str) -> dict[str, Any]:
        """Return fields by name, with times in microseconds since the epoch, and None for missing values.

        Raises:
            BadInputError: if a required field is missing, or a value has another type than its column.
        """
        return {name: self.value(name) for name in names.split()}

    def value(self, name: str) -> AnyJson:
        """Return one field; see `values`."""
        value = self.row.get(name)
        if name == "project_id" and self._project_id:
            return self._project_id
        if value is None and name in _REQUIRED:
            raise BadInputError("is required", name)
        if value is None:
            return {} if name in _OBJECTS else None
        kind = self._kinds[name]
        if kind is _JSON:
            return value
        if kind is _NUMBER:
            return _check_integer(value, name)
        if not isinstance(value, str):
            raise BadInputError("must be a string", name)
        if kind is _TIME:
            with ErrorsAt(name):
                return times.parse(value)
        return self._moved(value) if name in _REFS else value

    def _moved(self, ref: str) -> str:
        """Return a ref, moved to the target project if it leads into the row's own project."""
        own = f"{SCHEME}{self.row.get('project_id')}/"
        if self._project_id is None or not ref.startswith(own):
            return ref
        return f"{SCHEME}{self._project_id}/{ref.removeprefix(own)}"


def _check_integer(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -INT64 <= value < INT64:
        raise BadInputError("must be an integer between -2^63 and 2^63 - 1", name)
    if value < 0 and name == "version_index":
        raise BadInputError(f"{value} is negative; send 0 or more", name)
    return value


def to_restored_call(fields: ImportedRow) -> RestoredCall:
    """Convert an exported row to a call to restore.

    Raises:
        BadInputError: if a field has the wrong type, or if a call without `ended_at` has fields of an end.
    """
    start = CallStart(
        **fields.values(
            "project_id id op_name display_name trace_id parent_id thread_id turn_id started_at attributes inputs "
            "wb_user_id wb_run_id wb_run_step"
        )
    )
    summary = _without_derived(fields.value("summary"))
    ended_at = fields.value("ended_at")
    if ended_at is None:
        _check_has_no_end(fields, summary)
        return RestoredCall(start)
    others = fields.values("exception output wb_run_step_end")
    return RestoredCall(start, CallEnd(start.project_id, str(start.id), ended_at, summary, **others))


def _without_derived(summary: object) -> object:
    """Remove the computed keys from a summary; other keys under `weave` stay."""
    if not isinstance(summary, dict) or not isinstance(summary.get("weave"), dict):
        return summary
    weave: dict[str, Any] = {name: value for name, value in summary["weave"].items() if name not in _DERIVED_KEYS}
    return {name: weave if name == "weave" else value for name, value in summary.items() if weave or name != "weave"}


def _check_has_no_end(fields: ImportedRow, summary: object) -> None:
    """Check that a call without an end has no fields of an end, which would be lost.

    Raises:
        BadInputError: if it has one.
    """
    sent = {**fields.row, "summary": summary}
    for name in ("output", "exception", "wb_run_step_end", "summary"):
        if sent.get(name) not in (None, "", {}):
            raise BadInputError("must be null or absent if ended_at is null: a running call has none", name)


def to_restored_version(fields: ImportedRow) -> RestoredVersion:
    """Convert an exported row to a version to restore.

    Raises:
        BadInputError: a field has the wrong type.
    """
    kind = fields.value("kind")
    if kind not in (OBJECT, OP):
        raise BadInputError(f"{kind[:64]!r} must be {OBJECT} or {OP}", "kind")
    version = ObjectVersion(**fields.values("project_id object_id val wb_user_id"), kind=kind)
    others = fields.values("digest version_index is_latest created_at")
    return RestoredVersion(version, **others | {"is_latest": others["is_latest"] == 1})


def to_new_feedback(fields: ImportedRow) -> NewFeedback:
    """Convert an exported row to feedback to restore.

    Raises:
        BadInputError: a field has the wrong type.
    """
    return NewFeedback(
        **fields.values(
            "project_id id weave_ref feedback_type payload creator annotation_ref runnable_ref call_ref trigger_ref "
            "wb_user_id created_at"
        )
    )
