"""Reports on sweeps and previews."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self

from stores.database import Document
from stores.retention.rules import Rule


class Outcome(StrEnum):
    """The state of a sweep."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of deleted items, or of items to delete.

    `calls` of whole `traces`, with `trace_bytes` of JSON; `hidden_calls`, which were deleted or never started;
    `feedback` on both; `files`, with `file_bytes`.
    """

    traces: int = 0
    calls: int = 0
    hidden_calls: int = 0
    feedback: int = 0
    files: int = 0
    trace_bytes: int = 0
    file_bytes: int = 0

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Create the counts from a document; missing ones are 0."""
        return cls(*(int(document.get(name, 0)) for name in COUNTS))


COUNTS = tuple(field.name for field in fields(Counts))


@dataclass(frozen=True, slots=True)
class Report:
    """The last sweep of a project; times are microseconds since the epoch, `ended_at` is None while it runs."""

    outcome: Outcome
    started_at: int
    ended_at: int | None
    counts: Counts
    error: str | None

    @classmethod
    def from_document(cls, sweep: Document) -> Self:
        """Create the report from the sweep in a project's document."""
        return cls(
            Outcome(sweep["outcome"]),
            sweep["started_at"],
            sweep.get("ended_at"),
            Counts.from_document(sweep),
            sweep.get("error"),
        )


@dataclass(frozen=True, slots=True)
class Retention:
    """The retention of a project: rule, time it was set, time of the next sweep, report of the last sweep."""

    project_id: str
    rule: Rule
    set_at: int | None = None
    due_at: int | None = None
    report: Report | None = None

    @classmethod
    def from_document(cls, project_id: str, document: Document | None) -> Self:
        """Create it from a project's document; without a document there is no rule."""
        found = document or {}
        return cls(
            project_id,
            Rule.from_document(found),
            found.get("set_at"),
            found.get("due_at"),
            Report.from_document(found["sweep"]) if "sweep" in found else None,
        )
