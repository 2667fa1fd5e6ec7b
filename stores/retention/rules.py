"""The retention rule of a project, its limits at a point in time, and the report on its last sweep."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, Self

from stores import times
from stores.calls.fields import calls_match
from stores.database import Database, Document
from stores.errors import BadInputError

MAX_DAYS: Final = 36_500
MAX_CALLS: Final = 2_000_000_000

DAY: Final = 86_400_000_000
"""Microseconds per day."""

Pipeline = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """The number of days of calls, and of newest calls, to keep.

    Calls beyond either limit are deleted. None sets no limit.
    """

    keep_days: int | None = None
    keep_calls: int | None = None

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Read the rule from a project's document."""
        return cls(document.get("keep_days"), document.get("keep_calls"))

    def __bool__(self) -> bool:
        return self.keep_days is not None or self.keep_calls is not None

    def check(self) -> None:
        """Check the numbers.

        Raises:
            BadInputError: if a number is below 1 or above its maximum.
        """
        for name, maximum, noun in (("keep_days", MAX_DAYS, "days"), ("keep_calls", MAX_CALLS, "calls")):
            number = getattr(self, name)
            if number is not None and not 1 <= number <= maximum:
                raise BadInputError(f"{number:,} {noun} is out of range; send 1 to {maximum:,}", name)


@dataclass(frozen=True, slots=True)
class GracePeriods:
    """Times in microseconds that the sweep waits before deleting, whatever the rule says.

    `unfinished`: for the end of a running call, and for the root of a trace. `deleted`: for late data of a deleted or
    unstarted call, and before the value of a deleted object is deleted. `files` and `feedback`: for the first reference
    to a file, and for the call of feedback.
    """

    unfinished: int = DAY
    deleted: int = 7 * DAY
    files: int = DAY
    feedback: int = DAY


@dataclass(frozen=True, slots=True)
class Limits:
    """A rule at a point in time; times are microseconds since the epoch.

    A call is old if it started and ended before `by_days`, or started before `by_calls`. An incomplete call or trace
    that started at or after `unfinished` may still be completed.
    """

    by_days: int | None
    by_calls: int | None
    unfinished: int

    @property
    def before(self) -> int:
        """Time before which every old call started."""
        return max(limit for limit in (self.by_days, self.by_calls) if limit is not None)

    def doomed_traces(self) -> Pipeline:
        """Return the stages that turn visible calls into traces to delete: `_id`, `calls` (their number), `bytes`.

        A trace is deleted when all its calls are old and none is running. A trace without a root is kept until the root
        can no longer arrive.
        """
        last_time = {"$max": ["$started_at", "$ended_at"]}
        old: list[dict[str, Any]] = []
        if self.by_days is not None:
            old.append({"$lt": [last_time, self.by_days]})
        if self.by_calls is not None:
            old.append({"$lt": ["$started_at", self.by_calls]})
        is_running = {"$and": [{"$not": [{"$isNumber": "$ended_at"}]}, {"$gte": ["$started_at", self.unfinished]}]}
        is_kept = {"$or": [{"$not": [{"$or": old}]}, is_running]}
        is_root = {"$eq": [{"$ifNull": ["$parent_id", None]}, None]}
        group = {
            "_id": "$trace_id",
            "calls": {"$sum": 1},
            "bytes": {"$sum": "$storage_size_bytes"},
            "kept": {"$sum": {"$cond": [is_kept, 1, 0]}},
            "roots": {"$sum": {"$cond": [is_root, 1, 0]}},
            "last": {"$max": last_time},
        }
        is_whole = {"$or": [{"roots": {"$gt": 0}}, {"last": {"$lt": self.unfinished}}]}
        return [{"$group": group}, {"$match": {"kept": 0, **is_whole}}]


async def limits_of(database: Database, project_id: str, rule: Rule, grace_periods: GracePeriods) -> Limits | None:
    """Return the limits of a rule now; None if the project has no more calls than the rule keeps."""
    now = times.now()
    by_days = None if rule.keep_days is None else now - rule.keep_days * DAY
    by_calls = None
    if rule.keep_calls is not None:
        # The start of the last call to keep, from a covered query.
        newest = database.calls.find(
            calls_match(project_id), {"_id": 0, "started_at": 1}, sort=[("started_at", -1), ("id", -1)]
        )
        rows = await newest.skip(rule.keep_calls - 1).limit(1).to_list(1)
        by_calls = rows[0]["started_at"] if rows else None
    if by_days is None and by_calls is None:
        return None
    return Limits(by_days, by_calls, now - grace_periods.unfinished)


class Outcome(StrEnum):
    """State of a sweep."""

    RUNNING = "running"
    """Running, or interrupted and continued within a minute."""
    DONE = "done"
    """Completed: everything beyond the rule was removed."""
    STOPPED = "stopped"
    """Stopped: the rule was changed or removed during the sweep."""
    FAILED = "failed"
    """Failed, as stated in error; the sweep is repeated."""


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
