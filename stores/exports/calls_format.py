"""Export format of calls, which is the reference's `CallSchema`, and its conversion back."""

from collections.abc import Callable
from typing import Any, Final

from stores.calls.fields import total_cost
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.summaries import SUMMARY
from stores.calls.writes import RestoredCall
from stores.errors import BadInputError
from stores.exports.columns import Column, Columns, Kind
from stores.exports.row_reader import ImportedRow
from stores.json.inspection import INT64
from stores.paging import Row


def _tokens(name: str) -> Callable[[Row], int | None]:
    """Return a function that sums a count over the models of a row; the sum is at most 2^63 - 1."""

    def tokens(row: Row) -> int | None:
        usage = row.get("usage")
        return min(sum(entry[name] for entry in usage), INT64 - 1) if usage else None

    return tokens


CALL_COLUMNS: Final = Columns(
    [
        Column("project_id"),
        Column("id"),
        Column("op_name"),
        Column("display_name", optional=True),
        Column("trace_id"),
        Column("parent_id", optional=True),
        Column("thread_id", optional=True),
        Column("turn_id", optional=True),
        Column("started_at", Kind.TIME),
        Column("ended_at", Kind.TIME, optional=True),
        Column("exception", optional=True),
        Column("attributes", Kind.JSON),
        Column("inputs", Kind.JSON),
        Column("output", Kind.JSON, optional=True),
        Column("summary", Kind.JSON, source=SUMMARY.text),
        Column("wb_user_id", optional=True),
        Column("wb_run_id", optional=True),
        Column("wb_run_step", Kind.INTEGER, optional=True),
        Column("wb_run_step_end", Kind.INTEGER, optional=True),
        # Derived columns, so that tables need no JSON parsing; an import computes them again.
        Column("status"),
        Column("latency_ms", Kind.INTEGER, optional=True),
        Column("trace_name"),
        Column("prompt_tokens", Kind.INTEGER, optional=True, source=_tokens("prompt_tokens")),
        Column("completion_tokens", Kind.INTEGER, optional=True, source=_tokens("completion_tokens")),
        Column("total_tokens", Kind.INTEGER, optional=True),
        Column("total_cost", Kind.NUMBER, optional=True, source=total_cost),
    ]
)

_DERIVED_KEYS: Final = ("status", "latency_ms", "trace_name", "display_name")
"""Keys under `weave` in a summary that every read computes."""


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
