"""Import of exported rows: their fields, checked for type, and their conversion to what a store restores."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from stores import times
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.writes import RestoredCall
from stores.errors import BadInputError
from stores.feedback import NewFeedback
from stores.json import AnyJson
from stores.json.bson_copy import INT64
from stores.objects import ObjectVersion
from stores.objects.classes import OBJECT, OP
from stores.objects.writes import RestoredVersion
from stores.refs import SCHEME

_DERIVED_KEYS: Final = ("status", "latency_ms", "trace_name", "display_name")
"""Keys under `weave` in a summary that every read computes."""

_Value = TypeVar("_Value")


class ImportedRow:
    """The fields of one imported row, for its original project or for another one.

    JSON stays unchanged in either case, so that digests stay valid, and refs in it keep their targets. A ref in a field
    of its own moves to the new project if it led into the row's own project.
    """

    def __init__(self, row: Mapping[str, Any], project_id: str | None = None) -> None:
        self._row = row
        self._project_id = project_id

    def value(self, name: str) -> AnyJson:
        """Return the raw value of a field; None if missing."""
        return self._row.get(name)

    def text(self, name: str) -> str | None:
        """Return a text field; None if missing.

        Raises:
            BadInputError: if the value is not a string.
        """
        value = self._project_id if name == "project_id" and self._project_id else self._row.get(name)
        if value is not None and not isinstance(value, str):
            raise BadInputError("must be a string", name)
        return value

    def required_text(self, name: str) -> str:
        """Return a required text field.

        Raises:
            BadInputError: if it is missing or not a string.
        """
        return _required(self.text(name), name)

    def own_ref(self, name: str, *, optional: bool = False) -> str | None:
        """Return a text field; a ref into the row's own project is moved to the target project.

        Raises:
            BadInputError: if it is missing but required, or not a string.
        """
        text = self.text(name) if optional else self.required_text(name)
        own = f"{SCHEME}{self._row.get('project_id')}/"
        if text is None or self._project_id is None or not text.startswith(own):
            return text
        return f"{SCHEME}{self._project_id}/{text.removeprefix(own)}"

    def integer(self, name: str) -> int | None:
        """Return a 64-bit integer field; None if missing.

        Raises:
            BadInputError: if the value is not such an integer.
        """
        value = self._row.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not -INT64 <= value < INT64:
            raise BadInputError("must be an integer between -2^63 and 2^63 - 1", name)
        return value

    def required_index(self, name: str) -> int:
        """Return a required integer field from 0.

        Raises:
            BadInputError: if it is missing, negative or not an integer.
        """
        value = _required(self.integer(name), name)
        if value < 0:
            raise BadInputError(f"{value} is negative; send 0 or more", name)
        return value

    def time(self, name: str) -> int | None:
        """Return a time field in microseconds since the epoch; None if missing.

        Raises:
            BadInputError: if the value is not an ISO 8601 text.
        """
        text = self.text(name)
        try:
            return None if text is None else times.parse(text)
        except BadInputError as error:
            raise error.prefixed(name) from None

    def required_time(self, name: str) -> int:
        """Return a required time field in microseconds since the epoch.

        Raises:
            BadInputError: if it is missing or not an ISO 8601 text.
        """
        return _required(self.time(name), name)


def _required(value: _Value | None, name: str) -> _Value:
    if value is None:
        raise BadInputError("is required", name)
    return value


def to_restored_call(fields: ImportedRow) -> RestoredCall:
    """Convert an exported row to a call to restore.

    Raises:
        BadInputError: if a field has the wrong type, or if a call without `ended_at` has fields of an end.
    """
    start = CallStart(
        project_id=fields.required_text("project_id"),
        id=fields.required_text("id"),
        op_name=fields.own_ref("op_name") or "",
        display_name=fields.text("display_name"),
        trace_id=fields.required_text("trace_id"),
        parent_id=fields.text("parent_id"),
        thread_id=fields.text("thread_id"),
        turn_id=fields.text("turn_id"),
        started_at=fields.required_time("started_at"),
        attributes=_object(fields.value("attributes")),
        inputs=_object(fields.value("inputs")),
        wb_user_id=fields.text("wb_user_id"),
        wb_run_id=fields.text("wb_run_id"),
        wb_run_step=fields.integer("wb_run_step"),
    )
    summary = _without_derived(fields.value("summary"))
    ended_at = fields.time("ended_at")
    if ended_at is None:
        _check_has_no_end(fields, summary)
        return RestoredCall(start)
    end = CallEnd(
        project_id=start.project_id,
        id=str(start.id),
        ended_at=ended_at,
        summary=summary,
        exception=fields.text("exception"),
        output=fields.value("output"),
        wb_run_step_end=fields.integer("wb_run_step_end"),
    )
    return RestoredCall(start, end)


def _object(value: object) -> object:
    return {} if value is None else value


def _without_derived(summary: object) -> object:
    """Remove the computed keys from a summary; other keys under `weave` stay."""
    if not isinstance(summary, dict) or not isinstance(summary.get("weave"), dict):
        return _object(summary)
    weave: dict[str, Any] = {name: value for name, value in summary["weave"].items() if name not in _DERIVED_KEYS}
    return {name: weave if name == "weave" else value for name, value in summary.items() if weave or name != "weave"}


def _check_has_no_end(fields: ImportedRow, summary: object) -> None:
    """Check that a call without an end has no fields of an end, which would be lost.

    Raises:
        BadInputError: if it has one.
    """
    end_fields = {name: fields.value(name) for name in ("output", "exception", "wb_run_step_end")} | {
        "summary": summary
    }
    for name, value in end_fields.items():
        if value not in (None, "", {}):
            raise BadInputError("must be null or absent if ended_at is null: a running call has none", name)


def to_restored_version(fields: ImportedRow) -> RestoredVersion:
    """Convert an exported row to a version to restore.

    Raises:
        BadInputError: a field has the wrong type.
    """
    kind = fields.required_text("kind")
    if kind not in (OBJECT, OP):
        raise BadInputError(f"{kind[:64]!r} must be {OBJECT} or {OP}", "kind")
    version = ObjectVersion(
        project_id=fields.required_text("project_id"),
        object_id=fields.required_text("object_id"),
        val=fields.value("val"),
        wb_user_id=fields.text("wb_user_id"),
        kind=kind,
    )
    return RestoredVersion(
        version,
        digest=fields.required_text("digest"),
        version_index=fields.required_index("version_index"),
        is_latest=fields.integer("is_latest") == 1,
        created_at=fields.required_time("created_at"),
    )


def to_new_feedback(fields: ImportedRow) -> NewFeedback:
    """Convert an exported row to feedback to restore.

    Raises:
        BadInputError: a field has the wrong type.
    """
    return NewFeedback(
        project_id=fields.required_text("project_id"),
        id=fields.required_text("id"),
        weave_ref=fields.own_ref("weave_ref") or "",
        feedback_type=fields.required_text("feedback_type"),
        payload=fields.value("payload"),
        creator=fields.text("creator"),
        annotation_ref=fields.own_ref("annotation_ref", optional=True),
        runnable_ref=fields.own_ref("runnable_ref", optional=True),
        call_ref=fields.own_ref("call_ref", optional=True),
        trigger_ref=fields.own_ref("trigger_ref", optional=True),
        wb_user_id=fields.text("wb_user_id"),
        created_at=fields.required_time("created_at"),
    )
