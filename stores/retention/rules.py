"""The retention rule of a project, and its limits at a point in time."""

from dataclasses import dataclass
from typing import Any, Final, Self

from stores import times
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
    by_calls = None if rule.keep_calls is None else await _nth_newest(database, project_id, rule.keep_calls)
    if by_days is None and by_calls is None:
        return None
    return Limits(by_days, by_calls, now - grace_periods.unfinished)


async def _nth_newest(database: Database, project_id: str, number: int) -> int | None:
    """Return the start of the `number`-th newest call, None if there are fewer; a covered query."""
    match = {"project_id": project_id, "visible": True}
    newest = database.calls.find(match, {"_id": 0, "started_at": 1}, sort=[("started_at", -1), ("id", 1)])
    rows = await newest.skip(number - 1).limit(1).to_list(1)
    return rows[0]["started_at"] if rows else None
