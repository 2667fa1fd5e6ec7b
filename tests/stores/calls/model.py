"""A model of a call after any writes: the latest start, end and name, and whether the call is deleted."""

import json
from dataclasses import dataclass
from typing import Any

from stores.calls import CallEnd, CallStart

_START_FIELDS = (
    "trace_id",
    "op_name",
    "started_at",
    "attributes",
    "inputs",
    "parent_id",
    "thread_id",
    "turn_id",
    "wb_run_id",
    "wb_run_step",
)
_END_FIELDS = ("ended_at", "exception", "wb_run_step_end")


@dataclass
class CallModel:
    """The latest writes to one call."""

    project_id: str
    call_id: str
    start: CallStart | None = None
    end: CallEnd | None = None
    name: str | None = None
    renamed: bool = False
    renamed_by: str | None = None
    deleted_by: str | None = None

    def write(self, part: CallStart | CallEnd) -> None:
        """Replace the start or end; a start without a name keeps the name of a rename."""
        if isinstance(part, CallEnd):
            self.end = part
            return
        self.start = part
        if part.display_name:
            self.name, self.renamed = part.display_name, False
        elif not self.renamed:
            self.name = None

    def rename(self, name: str, user: str) -> None:
        """Set the name; an empty name removes it."""
        self.name, self.renamed, self.renamed_by = name or None, True, user

    def delete(self, user: str) -> None:
        """Record the first user who deletes the call."""
        self.deleted_by = self.deleted_by or user

    def document(self) -> dict[str, Any]:
        """Return the document that the store should hold, without the time of deletion."""
        found = {
            "_id": f"{self.project_id}:{self.call_id}",
            "project_id": self.project_id,
            "id": self.call_id,
            "visible": self.start is not None and self.deleted_by is None,
            "status": self._status(),
            "display_name": self.name,
            "renamed": self.renamed or None,
            "renamed_by": self.renamed_by,
            "deleted_by": self.deleted_by,
            "storage_size_bytes": 0,
            **self._start_part(),
            **self._end_part(),
        }
        texts = found.pop("start_json", {}) | found.pop("end_json", {})
        found["json"] = {name: _compact(value) for name, value in texts.items()} or None
        found["storage_size_bytes"] = (found.get("start_size_bytes") or 0) + (found.get("end_size_bytes") or 0)
        found["trace_name"] = self.name or found.get("op_trace_name")
        if self.start and self.end:
            found["latency_ms"] = (self.end.ended_at - self.start.started_at) // 1000
        return {name: value for name, value in found.items() if value is not None or (name == "output" and self.end)}

    def _status(self) -> str:
        if self.end is None:
            return "running"
        if self.end.exception:
            return "error"
        summary: Any = self.end.summary
        return "descendant_error" if summary.get("status_counts", {}).get("error", 0) > 0 else "success"

    def _start_part(self) -> dict[str, Any]:
        if self.start is None:
            return {}
        return {
            **{name: getattr(self.start, name) for name in _START_FIELDS},
            "op_trace_name": self.start.op_name.rpartition("/")[2].partition(":")[0],
            "wb_user_id": self.start.wb_user_id or "local",
            "input_refs": _refs(self.start.inputs),
            "start_size_bytes": len(json.dumps(self.start.attributes)) + len(json.dumps(self.start.inputs)),
            "start_json": {"attributes": self.start.attributes, "inputs": self.start.inputs},
        }

    def _end_part(self) -> dict[str, Any]:
        if self.end is None:
            return {}
        return {
            **{name: getattr(self.end, name) or None for name in _END_FIELDS},
            "output": self.end.output,
            "summary": self.end.summary,
            **_usage(self.end.summary),
            **_columns(self.end.summary),
            "output_refs": _refs(self.end.output),
            "end_size_bytes": len(json.dumps(self.end.output)) + len(json.dumps(self.end.summary)),
            "end_json": {"output": self.end.output, "summary": self.end.summary},
        }


def _usage(summary: Any) -> dict[str, Any]:
    """Return the stored usage for the request counts that these tests' summaries have."""
    none = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    models = [{"model": model, **none, **counts} for model, counts in summary.get("usage", {}).items()]
    scope = "own" if sum(summary.get("status_counts", {}).values()) == 1 else "unclear"
    return {"usage": models, "total_tokens": 0, "usage_scope": scope} if models else {}


def _columns(summary: Any) -> dict[str, Any]:
    """Return the columns that summaries of these tests give: the only model, and a kind for the call's own usage."""
    usage = _usage(summary)
    found = {"model": usage["usage"][0]["model"]} if usage and len(usage["usage"]) == 1 else {}
    found |= {"kind": "llm"} if usage and usage["usage_scope"] == "own" else {}
    return {"end_columns": found, **found} if found else {}


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _refs(value: object) -> list[str] | None:
    """Return the refs directly under a payload; these tests put none deeper."""
    members = value.values() if isinstance(value, dict) else [value]
    return [text for text in members if isinstance(text, str) and text.startswith("weave:///")] or None
