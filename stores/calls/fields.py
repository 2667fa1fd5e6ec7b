"""Fields of calls: their public names, and the document paths that each selected field reads."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields

TOTAL_STORAGE_SIZE: Final = "total_storage_size_bytes"
"""Computed: the sum over the call's trace."""

TOTAL_COST: Final = Field("total_cost", "_total_cost", Kind.NUMBER)
"""Computed from current prices by a stage that precedes the match."""

OP_NAME: Final = Field("op_name", "op_name", optional=False, low_cardinality=True)
"""A query for the plain name of an op also matches the op's versions (`op_names`)."""

STATUSES: Final = ("success", "error", "running", "descendant_error")

_WEAVE: Final = "summary.weave"

_IN_OBJECT: Final = "compare a value in it, such as {}.name, or search its text with contains"
_IN_REFS: Final = "name refs in the filter's {}, or search their text with contains"

CALL_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("project_id", "project_id", optional=False),
        OP_NAME,
        Field("display_name", "display_name"),
        Field("trace_id", "trace_id", optional=False),
        Field("parent_id", "parent_id"),
        Field("thread_id", "thread_id"),
        Field("turn_id", "turn_id"),
        Field("started_at", "started_at", Kind.TIME, optional=False),
        Field("ended_at", "ended_at", Kind.TIME),
        Field("exception", "exception"),
        Field("wb_user_id", "wb_user_id", optional=False),
        Field("wb_run_id", "wb_run_id"),
        Field("wb_run_step", "wb_run_step", Kind.NUMBER),
        Field("wb_run_step_end", "wb_run_step_end", Kind.NUMBER),
        Field("deleted_at", "deleted_at", Kind.TIME),
        Field("total_tokens", "total_tokens", Kind.NUMBER),
        TOTAL_COST,
        *(
            field
            for prefix in ("", f"{_WEAVE}.")
            for field in (
                Field(f"{prefix}status", "status", optional=False, low_cardinality=True, values=STATUSES),
                Field(f"{prefix}latency_ms", "latency_ms", Kind.NUMBER),
                Field(f"{prefix}trace_name", "trace_name", optional=False),
            )
        ),
        *(
            Field(name, name, Kind.JSON, text_path=f"json.{name}", comparison_hint=_IN_OBJECT.format(name))
            for name in ("inputs", "attributes", "summary")
        ),
        Field("output", "output", Kind.JSON, text_path="json.output"),
        Field("input_refs", "input_refs", Kind.JSON, comparison_hint=_IN_REFS.format("inputRefs")),
        Field("output_refs", "output_refs", Kind.JSON, comparison_hint=_IN_REFS.format("outputRefs")),
    ],
    absent_paths={
        ("summary", "weave", "costs"): "costs depend on current prices and are not in summary; filter and sort by "
        "total_cost, in US dollars"
    },
)

INDEXED_CALL_FIELDS: Final = IndexedFields(CALL_FIELDS, "calls")

_READS: Final[dict[str, tuple[str, ...]]] = {
    "inputs": ("json.inputs",),
    "output": ("json.output",),
    "attributes": ("json.attributes",),
    "summary": ("json.summary", "status", "latency_ms", "display_name", "trace_name"),
    "usage": ("json.summary", "usage"),
    "costs": ("project_id", "started_at", "usage"),
    "total_cost": ("project_id", "started_at", "usage"),
    "prompt_tokens": ("usage",),
    "completion_tokens": ("usage",),
    "ref": ("project_id", "id"),
    "op": ("project_id", "op_name"),
    "parent": ("project_id", "parent_id"),
    "children": ("project_id", "id"),
    "turn": ("project_id", "turn_id"),
    "trace": ("project_id", "trace_id"),
    "thread": ("project_id", "thread_id"),
    "evaluation_run": ("project_id", "id"),
    "feedback": ("project_id", "id"),
    "input_refs": ("project_id", "input_refs"),
    "output_refs": ("project_id", "output_refs"),
    **dict.fromkeys(
        ("trace_cost", "trace_tokens", "trace_errors", "trace_calls"), ("project_id", "trace_id", "parent_id")
    ),
    TOTAL_STORAGE_SIZE: ("trace_id", "parent_id"),
}


_TEXTS: Final = {f"json.{name}" for name in ("inputs", "output", "attributes", "summary")}


@lru_cache(maxsize=1_000)
def projection_of(wanted: frozenset[str]) -> dict[str, int]:
    """Return the projection for selected fields; cached, so do not modify it."""
    return {"_id": 0} | dict.fromkeys(paths_of(wanted), 1)


def paths_of(wanted: Iterable[str]) -> list[str]:
    """Return the document paths of the selected fields, without duplicates; by default a field's path is its name."""
    paths = dict.fromkeys(path for name in wanted for path in _READS.get(name, (name,)))
    if paths.keys() >= _TEXTS:
        # MongoDB returns a whole object faster than a projection of all its members.
        return [*(path for path in paths if path not in _TEXTS), "json"]
    return list(paths)
