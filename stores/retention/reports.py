"""What a sweep has done, and what one would do."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self

from stores.database import Document
from stores.retention.rules import Rule


class Outcome(StrEnum):
    """How far a sweep is."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Counts:
    """How much went, or would go.

    That is: `calls` of whole `traces`, whose JSON has `trace_bytes`; `hidden_calls`, which were deleted or never
    started; the `feedback` on both; `files`, of `file_bytes`.
    """

    traces: int = 0
    calls: int = 0
    hidden_calls: int = 0
    feedback: int = 0
    files: int = 0
    trace_bytes: int = 0
    file_bytes: int = 0

    @classmethod
    def of(cls, document: Document) -> Self:
        """The counts that are in a document, 0 where one is not."""
        return cls(*(int(document.get(name, 0)) for name in COUNTS))


COUNTS = tuple(field.name for field in fields(Counts))


@dataclass(frozen=True, slots=True)
class Report:
    """The last sweep of a project; times are microseconds since the epoch, `ended_at` is None while it is under way."""

    outcome: Outcome
    started_at: int
    ended_at: int | None
    counts: Counts
    error: str | None

    @classmethod
    def of(cls, sweep: Document) -> Self:
        """The report in a project's document."""
        return cls(
            Outcome(sweep["outcome"]),
            sweep["started_at"],
            sweep.get("ended_at"),
            Counts.of(sweep),
            sweep.get("error"),
        )


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of a project: its rule, since when, when the next sweep is due, and the report of the last one."""

    project_id: str
    rule: Rule
    set_at: int | None = None
    due_at: int | None = None
    report: Report | None = None

    @classmethod
    def of(cls, project_id: str, document: Document | None) -> Self:
        """The retention in a project's document; without one there is no rule."""
        found = document or {}
        return cls(
            project_id,
            Rule(found.get("keep_days"), found.get("keep_calls")),
            found.get("set_at"),
            found.get("due_at"),
            Report.of(found["sweep"]) if "sweep" in found else None,
        )
