"""The rule of a project: what of its calls is kept; and what that means at one moment."""

from dataclasses import dataclass
from typing import Any, Final

from stores import times
from stores.database import Database
from stores.errors import BadInputError

MAX_DAYS: Final = 36_500
MAX_CALLS: Final = 2_000_000_000

DAY: Final = 86_400_000_000
"""Microseconds of a day, as times are counted."""

Pipeline = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """How many days, or how many of the newest calls, are kept; what is beyond either goes. None asks nothing."""

    keep_days: int | None = None
    keep_calls: int | None = None

    def __bool__(self) -> bool:
        return self.keep_days is not None or self.keep_calls is not None

    def check(self) -> None:
        """Hold it to its bounds.

        Raises:
            BadInputError: a number is below 1 or beyond what there can be.
        """
        for name, most, noun in (("keep_days", MAX_DAYS, "days"), ("keep_calls", MAX_CALLS, "calls")):
            number = getattr(self, name)
            if number is not None and not 1 <= number <= most:
                raise BadInputError(f"{number:,} {noun} cannot be kept; name from 1 to {most:,}", name)


@dataclass(frozen=True, slots=True)
class GracePeriods:
    """How long, in microseconds, what may still be needed is waited for, whatever the rule says.

    `unfinished`: for the end of a call that runs, and for the root of a trace. `deleted`: for what may still arrive of
    a deleted call or of one that never started, and until a deleted object's value goes. `files` and `feedback`: for
    what refers to a file, and for the call that feedback is on.
    """

    unfinished: int = DAY
    deleted: int = 7 * DAY
    files: int = DAY
    feedback: int = DAY


@dataclass(frozen=True, slots=True)
class Limits:
    """A rule at one moment; times are microseconds since the epoch.

    A call is old if it began and ended before `by_days`, or began before `by_calls`. What began at or after
    `unfinished` and is not complete may become so.
    """

    by_days: int | None
    by_calls: int | None
    unfinished: int

    @property
    def before(self) -> int:
        """Every old call began before this."""
        return max(limit for limit in (self.by_days, self.by_calls) if limit is not None)

    def going(self) -> Pipeline:
        """What makes of visible calls the traces that go: `_id`, how many `calls` each has, their `bytes`.

        A trace goes when all its calls are old and none of them runs; and where its root is not there, only when that
        can no longer be expected.
        """
        last = {"$max": ["$started_at", "$ended_at"]}
        old: list[dict[str, Any]] = []
        if self.by_days is not None:
            old.append({"$lt": [last, self.by_days]})
        if self.by_calls is not None:
            old.append({"$lt": ["$started_at", self.by_calls]})
        runs = {"$and": [{"$not": [{"$isNumber": "$ended_at"}]}, {"$gte": ["$started_at", self.unfinished]}]}
        stays = {"$or": [{"$not": [{"$or": old}]}, runs]}
        is_root = {"$eq": [{"$ifNull": ["$parent_id", None]}, None]}
        group = {
            "_id": "$trace_id",
            "calls": {"$sum": 1},
            "bytes": {"$sum": "$storage_size_bytes"},
            "staying": {"$sum": {"$cond": [stays, 1, 0]}},
            "roots": {"$sum": {"$cond": [is_root, 1, 0]}},
            "last": {"$max": last},
        }
        is_whole = {"$or": [{"roots": {"$gt": 0}}, {"last": {"$lt": self.unfinished}}]}
        return [{"$group": group}, {"$match": {"staying": 0, **is_whole}}]


async def limits_of(database: Database, project_id: str, rule: Rule, patience: GracePeriods) -> Limits | None:
    """What a rule means now; None where there are no more calls than are kept."""
    now = times.now()
    by_days = None if rule.keep_days is None else now - rule.keep_days * DAY
    by_calls = None if rule.keep_calls is None else await _nth_newest(database, project_id, rule.keep_calls)
    if by_days is None and by_calls is None:
        return None
    return Limits(by_days, by_calls, now - patience.unfinished)


async def _nth_newest(database: Database, project_id: str, number: int) -> int | None:
    """When the last of so many of the newest calls began, None where there are fewer; from an index alone."""
    match = {"project_id": project_id, "visible": True}
    newest = database.calls.find(match, {"_id": 0, "started_at": 1}, sort=[("started_at", -1), ("id", 1)])
    rows = await newest.skip(number - 1).limit(1).to_list(1)
    return rows[0]["started_at"] if rows else None
