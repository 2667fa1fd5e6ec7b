"""Reads of roll-ups: those of settled hours and days, and the calls of all other hours, in one pipeline."""

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Self

from stores import times
from stores.costs import Prices
from stores.database import Database, Document
from stores.database.driver import all_rows
from stores.database.scan_order import index_hint
from stores.database.transactions import Session
from stores.hours import DAY, DAYS, HOUR, HOURS, OWN_ONLY, VERSION, day_of, hour_of, marks_of
from stores.rollups.documents import CALLS, TOTALS, VALUES, merged_value
from stores.rollups.parents import BY_START, hours_of_parents

Pipeline = list[dict[str, Any]]
Range = tuple[int, int]
"""The first time, and the end, which does not belong to it."""

_MAX_RANGES: Final = 200
"""Ranges of calls that one pipeline reads besides roll-ups, as MongoDB plans each of them."""

_MAX_MARKS: Final = 2_000
"""Marks, also of several projects, beyond which a query reads calls."""

_BATCH_SIZE: Final = 10_001
"""Rows of one batch, more than one response has."""

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


class _Unit(NamedTuple):
    """The hours or days from `first` to `end` without some."""

    unit: str
    first: int
    end: int
    without: Sequence[int] = ()

    @property
    def match(self) -> Document:
        """The match of their roll-ups."""
        excluded = [start for start in self.without if self.first <= start < self.end]
        started_at = {"$gte": self.first, "$lt": self.end, **({"$nin": excluded} if excluded else {})}
        return {"unit": self.unit, "started_at": started_at}

    def has(self, start: int) -> bool:
        """Return True if the hour or day that starts at `start` is one of them."""
        return self.first <= start < self.end and start not in self.without


@dataclass(frozen=True, slots=True)
class Coverage:
    """Roll-ups and calls that together stand for all calls of a project that match.

    Attributes:
        project_id: the project.
        match: what matches.
        live_hours: the hours that are read from calls.
        unsettled_days: days that are read from hours; None if all are.
        has_dimensions: False if no value by which calls are grouped is needed but the time.
    """

    project_id: str
    match: DimensionMatch
    live_hours: frozenset[int]
    unsettled_days: frozenset[int] | None
    has_dimensions: bool = True

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
        of_own: bool = False,
        has_dimensions: bool = True,
    ) -> Self | None:
        """Return the coverage of a project as of a snapshot.

        Args:
            database: the database.
            project_id: the project.
            match: what matches.
            session: the snapshot session, in which the coverage must be read.
            split_hours: hours to read from calls, because their roll-ups belong to several groups.
            by_day: True if roll-ups of whole days may be read.
            of_own: True if roll-ups of own usage are read.
            has_dimensions: False if calls are not grouped but by time.

        Returns:
            None if the project has no roll-ups, or too few of them help.
        """
        if match.whole_hours is None:
            return None
        marks = (await read_marks(database, [project_id], session))[0][project_id]
        found = cls.of_marks(project_id, match, marks, by_day=by_day, has_dimensions=has_dimensions)
        if found and of_own:
            found = found.split([mark[HOURS] for mark in marks if OWN_ONLY in mark])
            changed = [(mark[HOURS], mark[HOURS] + HOUR) for mark in marks if HOURS in mark and OWN_ONLY not in mark]
            children = _calls_of(project_id, _merged(sorted(changed)))
            if len(children) > _MAX_RANGES:
                return None
            if found and children:
                found = found.split(await hours_of_parents(database, project_id, children, session))
        return found.split(split_hours) if found else None

    @classmethod
    async def find_each(cls, database: Database, project_ids: Sequence[str], session: Session) -> dict[str, Self]:
        """Return the coverage of all calls per project, without projects of which roll-ups help too little."""
        marks, _ = await read_marks(database, project_ids, session)
        max_ranges = _MAX_RANGES // len(project_ids)
        found = {}
        for project_id in project_ids:
            coverage = cls.of_marks(project_id, DimensionMatch(), marks[project_id], has_dimensions=False)
            if coverage and len(coverage.live) <= max_ranges:
                found[project_id] = coverage
        return found

    @classmethod
    def of_marks(
        cls,
        project_id: str,
        match: DimensionMatch,
        marks: Sequence[Document],
        *,
        by_day: bool = True,
        has_dimensions: bool = True,
    ) -> Self | None:
        """Return the coverage of a project with some marks, as from `find`."""
        is_ready = any(mark.get("ready") and mark.get("version") == VERSION for mark in marks)
        if not match.whole_hours or not is_ready:
            return None
        days = frozenset(mark[DAYS] for mark in marks if DAYS in mark) if by_day else None
        live = (mark[HOURS] for mark in marks if HOURS in mark and OWN_ONLY not in mark)
        return cls(project_id, match, frozenset(), days, has_dimensions).split(live)

    def split(self, hours: Iterable[int] = (), days: Iterable[int] = ()) -> Self | None:
        """Return the coverage that reads further hours from calls, and days from hours; None if it helps too little."""
        unsettled = None if self.unsettled_days is None else self.unsettled_days.union(days)
        found = replace(self, live_hours=self.live_hours.union(hours), unsettled_days=unsettled)
        return found if len(found.ranges) <= _MAX_RANGES else None

    @property
    def _whole_hours(self) -> Range:
        return self.match.whole_hours or (0, 0)

    @property
    def _live(self) -> list[int]:
        first, end = self._whole_hours
        return sorted(hour for hour in self.live_hours if first <= hour < end)

    @property
    def ranges(self) -> list[Range]:
        """The ranges that are read from calls."""
        first, end = self._whole_hours
        live = ((hour, hour + HOUR) for hour in self._live)
        return _merged([(self.match.first, first), *live, (end, self.match.end)])

    @property
    def live(self) -> list[Document]:
        """The alternatives of a match of calls."""
        return _calls_of(self.project_id, self.ranges, self.match.clauses)

    def rollups(self, families: Sequence[str]) -> list[Document]:
        """Return the alternatives of a match of roll-ups of some families."""
        return [self.rollups_of(unit, families) for unit in self.units]

    def rollups_of(self, unit: _Unit, families: Sequence[str]) -> Document:
        """Return the match of the roll-ups of some families, of some hours or days."""
        match: Document = {"project_id": self.project_id, "of": {"$in": [*families]}, **unit.match}
        if [*families] == [CALLS] and not (self.has_dimensions or self.match.clauses):
            return {**match, "unit": TOTALS[unit.unit]}
        return {**match, **_all_of(self.match.clauses)}

    @property
    def units(self) -> list[_Unit]:
        """The settled days and hours: days as far as possible, unless `unsettled_days` is None."""
        first, end = self._whole_hours
        first_day, end_day = -(-first // DAY) * DAY, day_of(end)
        hours = [_Unit(HOURS, first, end, self._live)]
        if self.unsettled_days is None or first_day >= end_day:
            return hours
        days = {*map(day_of, self._live), *self.unsettled_days}
        by_hour = sorted(day for day in days if first_day <= day < end_day)
        ranges = _merged([(first, first_day), *((day, day + DAY) for day in by_hour), (end_day, end)])
        if len(ranges) > _MAX_RANGES:
            return hours
        return [_Unit(DAYS, first_day, end_day, by_hour), *(_Unit(HOURS, *each, self._live) for each in ranges)]

    def aggregate(
        self, database: Database, session: Session, families: Sequence[str], stages: Sequence[Document] = ()
    ) -> AsyncIterable[Document]:
        """Run stages over the roll-ups of some families and the calls."""
        match: Document = {"$match": {"$or": self.rollups(families)}}
        if not self.live:
            return database.rollups.aggregate([match, *stages], session=session, allowDiskUse=True)
        union: Document = {"$unionWith": {"coll": database.rollups.name, "pipeline": [match]}}
        found = [{"$match": {"$or": self.live}}, union, *stages]
        by_start = index_hint(database.calls, BY_START)
        return database.calls.aggregate(found, session=session, allowDiskUse=True, **by_start)

    async def split_by_price(
        self, database: Database, session: Session, families: Sequence[str], prices: Prices
    ) -> Self | None:
        """Return the coverage without roll-ups whose entries have several prices; None if it helps too little."""
        dates = prices.dates
        found = self.split(
            [hour_of(date) for date in dates if date % HOUR], [day_of(date) for date in dates if date % DAY]
        )
        while found and (units := await found.units_of_several_tiers(database, session, families, prices)):
            found = found.split(*units)
        return found

    async def units_of_several_tiers(
        self, database: Database, session: Session, families: Sequence[str], prices: Prices
    ) -> tuple[list[int], list[int]] | None:
        """Return the hours and days of roll-ups whose entries are below and within a tier; None if there are none."""
        tiers = [
            {"usage.model": {"$in": models}, "usage.least": {"$lt": start}, "usage.most": {"$gte": start}}
            for start, models in prices.tier_starts.items()
        ]
        if not tiers:
            return None
        match = {"$match": {"$or": [{**each, "$or": tiers} for each in self.rollups(families)]}}
        stages: Pipeline = [match, {"$group": {"_id": "$unit", "starts": {"$addToSet": "$started_at"}}}]
        rows = await database.rollups.aggregate(stages, session=session).to_list(None)
        starts = {row["_id"]: row["starts"] for row in rows}
        return (starts.get(HOURS, []), starts.get(DAYS, [])) if starts else None


def _calls_of(project_id: str, ranges: Iterable[Range], clauses: Sequence[Document] = ()) -> list[Document]:
    """Return the alternatives of a match of visible calls that start in one of some ranges."""
    visible = {"project_id": project_id, "visible": True, **_all_of(clauses)}
    return [{**visible, "started_at": {"$gte": first, "$lt": end}} for first, end in ranges]


async def read_marks(
    database: Database, project_ids: Sequence[str], session: Session, further: Sequence[Document] = ()
) -> tuple[dict[str, list[Document]], list[Document]]:
    """Return the state and all marks of each project, none if there are too many; and the rows that `further` adds."""
    of_projects = {"$or": [marks_of(project_id) for project_id in project_ids]}
    shown = {"_id": 0} | dict.fromkeys(("project_id", HOURS, OWN_ONLY, DAYS, "ready", "version", "prices"), 1)
    stages: Pipeline = [{"$match": of_projects}, {"$limit": _MAX_MARKS + 1}, {"$project": shown}, *further]
    rows = await all_rows(database.hour_marks, stages, _BATCH_SIZE, session)
    marks = [row for row in rows if "project_id" in row]
    found: dict[str, list[Document]] = {project_id: [] for project_id in project_ids}
    for mark in marks if len(marks) <= _MAX_MARKS else ():
        found[mark["project_id"]].append(mark)
    return found, [row for row in rows if "project_id" not in row]


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
    rolled_up: "RolledUp",
    session: Session,
    further: Sequence[Document] = (),
) -> list[Document]:
    """Group what coverages stand for.

    Args:
        database: the database.
        coverages: the coverages, at least one.
        keys: the `_id` of the groups, an expression over roll-ups.
        rolled_up: the values of the groups.
        session: the snapshot session of the coverages.
        further: stages over the groups.
    """
    of_rollups: Pipeline = [
        *([{"$set": rolled_up.computed}] if rolled_up.computed else []),
        {"$group": {"_id": keys, **rolled_up.merged}},
    ]
    if any(each.live for each in coverages):
        further = [{"$group": {"_id": "$_id", **rolled_up.again}}, *further]
    return await read_rows(database, coverages, rolled_up.families, of_rollups, rolled_up.groups, session, further)


async def read_rows(
    database: Database,
    coverages: Sequence[Coverage],
    families: Sequence[str],
    of_rollups: Pipeline,
    of_calls: Callable[[Pipeline], Pipeline],
    session: Session,
    further: Sequence[Document] = (),
) -> list[Document]:
    """Run stages over roll-ups, and further ones over their rows and those of `of_calls`.

    `of_calls` returns stages, given those that find the calls.
    """
    stages: Pipeline = [
        {"$match": {"$or": [match for each in coverages for match in each.rollups(families)]}},
        *of_rollups,
    ]
    collection, hint = database.rollups, dict[str, Any]()
    if live := [match for each in coverages for match in each.live]:
        # MongoDB takes 15 ms to choose an index for each range. Only the main collection of a pipeline takes a hint.
        collection, hint = database.calls, index_hint(database.calls, BY_START)
        stages = [
            *of_calls([{"$match": {"$or": live}}]),
            {"$unionWith": {"coll": database.rollups.name, "pipeline": stages}},
        ]
    return await all_rows(collection, [*stages, *further], _BATCH_SIZE, session, **hint)


@dataclass(frozen=True, slots=True)
class RolledUp:
    """Values of groups, computed from roll-ups and from calls.

    Attributes:
        families: the families of roll-ups to read.
        merged: the accumulators over roll-ups.
        again: the accumulators over values with these names.
        groups: returns the stages that find, group and accumulate calls, given those that find them.
        computed: fields to compute over roll-ups first.
    """

    families: Sequence[str]
    merged: dict[str, Document]
    again: dict[str, Document]
    groups: Callable[[Pipeline], Pipeline]
    computed: Document = field(default_factory=dict)

    @classmethod
    def of_calls(cls, keys: object, name: str) -> Self:
        """Return one of `VALUES`."""
        merged = {name: merged_value(name)}
        return cls([CALLS], merged, merged, lambda found: [*found, {"$group": {"_id": keys, name: VALUES[name]}}])


async def count(
    database: Database,
    project_id: str,
    match: DimensionMatch,
    limit: int | None = None,
    session: Session | None = None,
) -> int | None:
    """Count the calls of a project that match, up to `limit`; None if roll-ups do not help.

    Without a session the count has a snapshot of its own.
    """
    if match.whole_hours is None:
        return None
    async with nullcontext(session) if session else database.snapshot_session([project_id]) as snapshot:
        # One command reads the marks and all days. The marks tell which days count; most projects need no more.
        every = Coverage(project_id, match, frozenset(), frozenset(), has_dimensions=False)
        days = [every.rollups_of(unit, [CALLS]) for unit in every.units if unit.unit == DAYS]
        # Only with conditions a day has several roll-ups. A stage that groups them takes a fifth of the time.
        of_day = {"$group": {"_id": "$started_at", "count": merged_value("count")}}
        shown = of_day if match.clauses else {"$project": {"_id": "$started_at", "count": 1}}
        by_day: Pipeline = [{"$match": {"$or": days}}, shown]
        union = [{"$unionWith": {"coll": database.rollups.name, "pipeline": by_day}}] if days else []
        marks, counts = await read_marks(database, [project_id], snapshot, union)
        coverage = Coverage.of_marks(project_id, match, marks[project_id], has_dimensions=False)
        if coverage is None:
            return None
        units, live = coverage.units, coverage.live
        number: int = sum(row["count"] for unit in units if unit.unit == DAYS for row in counts if unit.has(row["_id"]))
        hours = [coverage.rollups_of(unit, [CALLS]) for unit in units if unit.unit == HOURS]
        if (hours or live) and (limit is None or number < limit):
            number += await _count_rest(database, hours, live, None if limit is None else limit - number, snapshot)
        return number if limit is None else min(number, limit)


async def _count_rest(
    database: Database, hours: Sequence[Document], live: Sequence[Document], limit: int | None, session: Session
) -> int:
    """Count the calls of some roll-ups and further calls, by the alternatives of their matches, about up to `limit`."""
    of_hours: Pipeline = [{"$match": {"$or": hours}}, {"$group": {"_id": None, "count": merged_value("count")}}]
    union = [{"$unionWith": {"coll": database.rollups.name, "pipeline": of_hours}}] if hours else []
    number = 0
    if hours and (limit is not None or not live):
        # Calls are only read if roll-ups do not reach the limit.
        number += sum(row["count"] for row in await all_rows(database.rollups, of_hours, 2, session))
        union = []
    if live and (limit is None or number < limit):
        at_most = [] if limit is None else [{"$limit": limit - number}]
        of_calls: Pipeline = [{"$match": {"$or": live}}, *at_most, {"$count": "count"}, *union]
        rows = await all_rows(database.calls, of_calls, 3, session, **index_hint(database.calls, BY_START))
        number += sum(row["count"] for row in rows)
    return number


async def total_each(database: Database, project_ids: Sequence[str], name: str) -> dict[str, int]:
    """Return a value of all calls per project, without projects of which roll-ups help too little."""
    async with database.snapshot_session(project_ids) as session:
        coverages = await Coverage.find_each(database, project_ids, session)
        if not coverages:
            return {}
        keys = "$project_id"
        rows = await read_groups(database, list(coverages.values()), keys, RolledUp.of_calls(keys, name), session)
        return dict.fromkeys(coverages, 0) | {row["_id"]: row[name] for row in rows}
