"""Calls outside: the form in which they are exported, which is the reference's `CallSchema`, and read back."""

from collections.abc import Callable
from typing import Any, Final

from stores.calls.computed_fields import PRICES
from stores.calls.inputs import CallEnd, CallStart
from stores.calls.restore import RestoredCall
from stores.calls.summaries import SUMMARY
from stores.errors import BadInputError
from stores.exports.columns import Column, Columns, Kind
from stores.exports.row_reader import ImportedRow
from stores.json.inspection import INT64
from stores.paging import Row


def _tokens(name: str) -> Callable[[Row], int | None]:
    """Return a function that sums a count over the models of a row; the sum is at most 2^63 - 1."""

    def tokens(row: Row) -> int | None:
        used = row.get("usage")
        return min(sum(entry[name] for entry in used), INT64 - 1) if used else None

    return tokens


def _total_cost(row: Row) -> float | None:
    """Return the cost of a row's usage in US dollars, by the prices at the time of the export."""
    used = row.get("usage")
    cost: float | None = row[PRICES].total_cost(used, row["started_at"]) if used else None
    return cost


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
        # Computed from the others, so that a table needs no parsing of JSON; an import computes them anew.
        Column("status"),
        Column("latency_ms", Kind.INTEGER, optional=True),
        Column("trace_name"),
        Column("prompt_tokens", Kind.INTEGER, optional=True, source=_tokens("prompt_tokens")),
        Column("completion_tokens", Kind.INTEGER, optional=True, source=_tokens("completion_tokens")),
        Column("total_tokens", Kind.INTEGER, optional=True),
        Column("total_cost", Kind.NUMBER, optional=True, source=_total_cost),
    ]
)

_DERIVED: Final = ("status", "latency_ms", "trace_name", "display_name")
"""What a summary has under `weave` that is made anew of the rest whenever it is read."""


def restored_of(fields: ImportedRow) -> RestoredCall:
    """An exported call, to be put back.

    Raises:
        BadInputError: a field has the wrong type, or what only an end has is there without one.
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
    summary = _as_sent(fields.value("summary"))
    ended_at = fields.time("ended_at")
    if ended_at is None:
        _check_runs(fields, summary)
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


def _as_sent(summary: object) -> object:
    """A summary without what reading adds to it; what else is under `weave` stays."""
    if not isinstance(summary, dict) or not isinstance(summary.get("weave"), dict):
        return _object(summary)
    weave: dict[str, Any] = {name: value for name, value in summary["weave"].items() if name not in _DERIVED}
    return {name: weave if name == "weave" else value for name, value in summary.items() if weave or name != "weave"}


def _check_runs(fields: ImportedRow, summary: object) -> None:
    """Hold a call without an end to what a start can say.

    Raises:
        BadInputError: there is more, which would be lost.
    """
    there = {name: fields.value(name) for name in ("output", "exception", "wb_run_step_end")} | {"summary": summary}
    for name, value in there.items():
        if value not in (None, "", {}):
            raise BadInputError("is there though ended_at is null; a call that runs has none yet", name)
