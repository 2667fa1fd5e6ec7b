"""Reads of roll-ups: those of settled hours and days, and the calls of all other hours, in one pipeline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from stores import times
from stores.database import Database, Document
from stores.database.indexes import INDEXES
from stores.database.transactions import Session
from stores.hours import DAY, DAYS, HOUR, HOURS, day_of, hour_of, marks_of
from stores.rollups.documents import VALUES, merged_value

Pipeline = list[dict[str, Any]]
Range = tuple[int, int]
"""The first time, and the end, which does not belong to it."""

_MAX_RANGES: Final = 200
"""Ranges of calls that one pipeline reads besides roll-ups, as MongoDB plans each of them."""

_MAX_MARKS: Final = 2_000
"""Marks, also of several projects, beyond which a query reads calls."""

_BATCH_SIZE: Final = 10_001
"""Rows of one batch, more than one response has."""

_BY_START: Final = next(
    index.name
    for index in INDEXES
    if index.collection == "calls" and not index.only and [path for path, _ in index.keys][2:3] == ["started_at"]
)
"""Name of the index of calls by start."""

EVER: Final = (day_of(times.FIRST), day_of(times.LAST) + DAY)
"""The range of all starts of calls."""


@dataclass(frozen=True, slots=True)
class DimensionMatch:
    """Conditions on calls that also apply to roll-ups.

    Attributes:
        clauses: conditions on `DIMENSIONS`, and on whether a call is a root.
        first: earliest start of the calls.
        end: time before which the calls start.
    """

    clauses: Sequence[Document] = ()
    first: int = EVER[0]
    end: int = EVER[1]

    @property
    def whole_hours(self) -> Range | None:
        """The range without hours of which only a part matches; None if nothing is left."""
        first, end = -(-self.first // HOUR) * HOUR, hour_of(self.end)
        return (first, end) if first < end else None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Roll-ups and calls that together stand for all calls of a project that match.

    Attributes:
        rollups: the alternatives of a match of roll-ups.
        live: the alternatives of a match of calls.
    """

    rollups: list[Document]
    live: list[Document]

    @classmethod
    async def find(
        cls,
        database: Database,
        project_id: str,
        match: DimensionMatch,
        session: Session,
        split_hours: Iterable[int] = (),
        *,
        by_day: bool = True,
    ) -> Self | None:
        """Return the coverage of a project as of a snapshot.

        Args:
            database: the database.
            project_id: the project.
            match: what matches.
            session: the snapshot session, in which the coverage must be read.
            split_hours: hours to read from calls, because their roll-ups belong to several groups.
            by_day: True if roll-ups of whole days may be read.

        Returns:
            None if the project has no roll-ups, or too few of them help.
        """
        if match.whole_hours is None:
            return None
        marks = await _marks(database, [project_id], session)
        return cls._of(project_id, match, marks[project_id], split_hours, by_day=by_day)

    @classmethod
    async def find_each(cls, database: Database, project_ids: Sequence[str], session: Session) -> dict[str, Self]:
        """Return the coverage of all calls per project, without projects of which roll-ups help too little."""
        marks = await _marks(database, project_ids, session)
        found = {project_id: cls._of(project_id, DimensionMatch(), marks[project_id]) for project_id in project_ids}
        max_ranges = _MAX_RANGES // len(project_ids)
        return {
            project_id: coverage
            for project_id, coverage in found.items()
            if coverage and len(coverage.live) <= max_ranges
        }

    @classmethod
    def _of(
        cls,
        project_id: str,
        match: DimensionMatch,
        marks: Sequence[Document],
        split_hours: Iterable[int] = (),
        *,
        by_day: bool = True,
    ) -> Self | None:
        if not match.whole_hours or not any(mark.get("ready") for mark in marks):
            return None
        first, end = match.whole_hours
        marked = {mark[HOURS] for mark in marks if HOURS in mark}.union(split_hours)
        live = sorted(hour for hour in marked if first <= hour < end)
        ranges = _merged([(match.first, first), *((hour, hour + HOUR) for hour in live), (end, match.end)])
        if len(ranges) > _MAX_RANGES:
            return None
        days = [mark[DAYS] for mark in marks if DAYS in mark] if by_day else None
        visible = {"project_id": project_id, "visible": True, **_all_of(match.clauses)}
        return cls(
            [{"project_id": project_id, **_all_of([each, *match.clauses])} for each in _units(first, end, live, days)],
            [{**visible, "started_at": {"$gte": low, "$lt": high}} for low, high in ranges],
        )


async def _marks(database: Database, project_ids: Sequence[str], session: Session) -> dict[str, list[Document]]:
    """Return the state and all marks of each project; nothing if there are too many."""
    of_projects = [marks_of(project_id) for project_id in project_ids]
    shown = {"_id": 0, "project_id": 1, HOURS: 1, DAYS: 1, "ready": 1}
    limits = {"limit": _MAX_MARKS + 1, "batch_size": _MAX_MARKS + 2}
    marks = await database.hour_marks.find({"$or": of_projects}, shown, **limits, session=session).to_list(None)
    found: dict[str, list[Document]] = {project_id: [] for project_id in project_ids}
    for mark in marks if len(marks) <= _MAX_MARKS else ():
        found[mark["project_id"]].append(mark)
    return found


def _units(first: int, end: int, live: Sequence[int], unsettled_days: Sequence[int] | None) -> list[Document]:
    """Return the matches of the roll-ups from `first` to `end` without those of live hours.

    They are of days as far as possible, unless `unsettled_days` is None.
    """
    first_day, end_day = -(-first // DAY) * DAY, day_of(end)
    if unsettled_days is None or first_day >= end_day:
        return [_unit(HOURS, first, end, live)]
    days = {*map(day_of, live), *unsettled_days}
    by_hour = sorted(day for day in days if first_day <= day < end_day)
    hours = _merged([(first, first_day), *((day, day + DAY) for day in by_hour), (end_day, end)])
    if len(hours) > _MAX_RANGES:
        return [_unit(HOURS, first, end, live)]
    return [_unit(DAYS, first_day, end_day, by_hour), *(_unit(HOURS, *each, live) for each in hours)]


def _unit(unit: str, first: int, end: int, without: Sequence[int]) -> Document:
    excluded = [start for start in without if first <= start < end]
    return {"unit": unit, "started_at": {"$gte": first, "$lt": end, **({"$nin": excluded} if excluded else {})}}


def _merged(ranges: Iterable[Range]) -> list[Range]:
    """Join sorted ranges that touch, without empty ones."""
    merged: list[Range] = []
    for first, end in ranges:
        if merged and merged[-1][1] == first and first < end:
            merged[-1] = merged[-1][0], end
        elif first < end:
            merged.append((first, end))
    return merged


def _all_of(clauses: Sequence[Document]) -> Document:
    return {"$and": list(clauses)} if clauses else {}


async def read_groups(
    database: Database,
    coverages: Sequence[Coverage],
    keys: object,
    names: Iterable[str],
    session: Session,
    further: Sequence[Document] = (),
) -> list[Document]:
    """Group what coverages stand for.

    Args:
        database: the database.
        coverages: the coverages, at least one.
        keys: the `_id` of the groups, an expression over calls that reads only dimensions.
        names: the names of the groups' values, among `VALUES`.
        session: the snapshot session of the coverages.
        further: stages over the groups.
    """
    merged = {name: merged_value(name) for name in names}
    stages: Pipeline = [
        {"$match": {"$or": [match for each in coverages for match in each.rollups]}},
        {"$group": {"_id": keys, **merged}},
    ]
    collection, options = database.rollups, dict[str, Any]()
    if live := [match for each in coverages for match in each.live]:
        # MongoDB takes 15 ms to choose an index for each range. Only the main collection of a pipeline takes a hint.
        collection, options = database.calls, {"hint": _BY_START}
        stages = [
            {"$match": {"$or": live}},
            {"$group": {"_id": keys, **{name: VALUES[name] for name in merged}}},
            {"$unionWith": {"coll": database.rollups.name, "pipeline": stages}},
            {"$group": {"_id": "$_id", **merged}},
        ]
    cursor = collection.aggregate(
        [*stages, *further], session=session, allowDiskUse=True, batchSize=_BATCH_SIZE, **options
    )
    return await cursor.to_list(None)


async def count(database: Database, project_id: str, match: DimensionMatch, limit: int | None = None) -> int | None:
    """Count the calls of a project that match, up to `limit`; None if roll-ups do not help."""
    async with database.snapshot_session() as session:
        coverage = await Coverage.find(database, project_id, match, session)
        if coverage is None:
            return None
        if limit is None:
            return await _sum_counts(database, coverage, session)
        missing = limit - await _sum_counts(database, replace(coverage, live=[]), session)
        if missing > 0 and coverage.live:
            stages: Pipeline = [{"$match": {"$or": coverage.live}}, {"$limit": missing}, {"$count": "number"}]
            rows = await database.calls.aggregate(stages, session=session, hint=_BY_START).to_list(None)
            missing -= sum(row["number"] for row in rows)
        return limit - max(missing, 0)


async def _sum_counts(database: Database, coverage: Coverage, session: Session) -> int:
    rows = await read_groups(database, [coverage], None, ["count"], session)
    return sum(row["count"] for row in rows)


async def total_each(database: Database, project_ids: Sequence[str], name: str) -> dict[str, int]:
    """Return a value of all calls per project, without projects of which roll-ups help too little."""
    async with database.snapshot_session() as session:
        coverages = await Coverage.find_each(database, project_ids, session)
        if not coverages:
            return {}
        rows = await read_groups(database, list(coverages.values()), "$project_id", [name], session)
        return dict.fromkeys(coverages, 0) | {row["_id"]: row[name] for row in rows}
