"""The store of projects: which there are, what is in each, and what it takes."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stores import ids, paging, times
from stores.database import Collection, Database, database_query, database_write, project_registry
from stores.errors import BadInputError
from stores.paging import Page, PageRequest, Row
from stores.projects.index_sums import sum_each
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.query.text_expressions import starting_with

PROJECT_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("entity", "entity", optional=False),
        Field("name", "name", optional=False),
        Field("created_at", "created_at", Kind.TIME, optional=False),
        Field("last_activity_at", "last_activity_at", Kind.TIME),
    ]
)

_STORED: Final = frozenset({"id", "entity", "name", "created_at", "last_activity_at"})
_BY_ID = (SortBy("id"),)
_AT_ONCE: Final = 1_000
_COUNTED_AT_ONCE: Final = 25
"""Of how many projects one command counts or sums, so that none walks through the keys of very many."""

_VISIBLE: Final[dict[str, object]] = {"visible": True}


@dataclass(frozen=True, slots=True)
class ProjectsFilter:
    """Which projects: those of an entity, those whose names begin with a text; what is null or empty asks nothing.

    They are `among` some, each entity/project or entity/* for all of an entity; None for all, and none where it is
    empty.
    """

    entity: str | None = None
    name_prefix: str | None = None
    among: tuple[str, ...] | None = None

    def match(self) -> dict[str, Any]:
        """What they must meet.

        Raises:
            BadInputError: there can be no such entity or name.
        """
        if self.entity:
            ids.check_project_part(self.entity, "filter.entity")
        if self.name_prefix and not ids.is_in_project_part(self.name_prefix):
            raise BadInputError(
                f"no name begins with {self.name_prefix[:64]!r}; use {ids.PROJECT_PART_RULE}", "filter.name_prefix"
            )
        among = {} if self.among is None else _among(self.among)
        if self.entity:
            return {"id": starting_with(f"{self.entity}/{self.name_prefix or ''}")} | among
        return ({"name": starting_with(self.name_prefix)} if self.name_prefix else {}) | among


class ProjectsStore:
    """Projects in MongoDB.

    Rows are dicts of a project's `id` (entity/project) and, if wanted, `entity`, `name`, `created_at` and
    `last_activity_at` in microseconds since the epoch. The last is absent where nothing was ever stored.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._projects = database.projects
        self._sizes: dict[str, tuple[Collection, dict[str, object], str]] = {
            "trace_storage_size_bytes": (database.calls, _VISIBLE, "storage_size_bytes"),
            "objects_storage_size_bytes": (database.objects, _VISIBLE, "size_bytes"),
            "tables_storage_size_bytes": (database.table_rows, {}, "size_bytes"),
            "files_storage_size_bytes": (database.files, {}, "length"),
        }

    @database_write
    async def ensure(self, entity: str, name: str) -> Row:
        """List a project, unless it is, by its normalised name; the row.

        A name is normalised to Unicode's composed form (NFC) without space around it. An entity must be so already.

        Raises:
            BadInputError: the entity or the name breaks a rule.
        """
        project_id = named(entity, name)
        await project_registry.write(self._projects, [project_registry.entry(project_id)])
        return {"id": project_id, "entity": entity, "name": project_id.partition("/")[2]}

    @database_query
    async def one(self, project_id: str, wanted: Iterable[str]) -> Row | None:
        """The wanted fields of a project, None where there is none of that id."""
        ids.check_project_id(project_id)
        return await self._projects.find_one({"_id": project_id}, {"_id": 0} | dict.fromkeys(_paths(wanted), 1))

    @database_query
    async def by_ids(self, project_ids: Sequence[str], wanted: frozenset[str]) -> dict[str, Row | None]:
        """For each id the wanted fields of the project, None where there is none."""
        shown = {"_id": 0} | dict.fromkeys(_paths(wanted), 1)
        rows = self._projects.find({"_id": {"$in": list(project_ids)}}, shown, batch_size=len(project_ids) + 1)
        found = {row["id"]: row async for row in rows}
        return {project_id: found.get(project_id) for project_id in project_ids}

    @database_query
    async def page(
        self,
        request: PageRequest,
        wanted: Iterable[str],
        projects_filter: ProjectsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
    ) -> Page:
        """The wanted fields of a page of projects; without a sort, by id.

        Raises:
            BadInputError: the filter, the sort or the cursor breaks a rule.
        """
        order = compile_sort(sort_by or _BY_ID, PROJECT_FIELDS)
        return await paging.find_page(self._projects, _match(projects_filter), order, request, _paths(wanted))

    @database_query
    async def count(self, projects_filter: ProjectsFilter | None = None) -> int:
        """How many projects pass the filter."""
        return await self._projects.count_documents(_match(projects_filter))

    @database_query
    async def count_calls(self, project_ids: Sequence[str]) -> dict[str, int]:
        """For each of some projects how many calls it has."""
        return await self._count_each(self.database.calls, project_ids, _VISIBLE)

    @database_query
    async def count_objects(self, project_ids: Sequence[str]) -> dict[str, int]:
        """For each of some projects how many versions of objects and ops it has."""
        return await self._count_each(self.database.objects, project_ids, _VISIBLE)

    @database_query
    async def count_feedback(self, project_ids: Sequence[str]) -> dict[str, int]:
        """For each of some projects how much feedback it has."""
        return await self._count_each(self.database.feedback, project_ids, {})

    async def _count_each(
        self, collection: Collection, project_ids: Sequence[str], match: dict[str, Any]
    ) -> dict[str, int]:
        return {
            project_id: number
            for some in _some(project_ids)
            for project_id, number in (await paging.count_each(collection, "project_id", some, match)).items()
        }

    @database_query
    async def sizes(self, project_ids: Sequence[str], wanted: frozenset[str]) -> dict[str, Row]:
        """For each of some projects the wanted ones of its four sizes in bytes; 0 where it has nothing.

        What is deleted takes none of it, and a call none before it has started.

        Raises:
            BadInputError: one of the ids is none of a project.
        """
        for project_id in project_ids:
            ids.check_project_id(project_id)
        names = [name for name in self._sizes if name in wanted]
        sums = await asyncio.gather(*(self._sum_each(project_ids, name) for name in names))
        return {one: {name: found[one] for name, found in zip(names, sums, strict=True)} for one in project_ids}

    async def _sum_each(self, project_ids: Sequence[str], name: str) -> dict[str, int]:
        collection, match, path = self._sizes[name]
        return {
            project_id: size
            for some in _some(project_ids)
            for project_id, size in (await sum_each(collection, match, some, path)).items()
        }

    @database_write
    async def adopt(self) -> int:
        """List the projects of which something is there but which are not listed; how many.

        So it is in a database that was filled before there was a register, or by others. It costs a look at an index
        for each project and collection.
        """
        database = self.database
        filled = (database.calls, database.objects, database.table_rows, database.files)
        adopted = 0
        for collection in (*filled, database.feedback, database.costs):
            async for found in self._unlisted(collection):
                entries = [project_registry.entry(project_id, *await self._span(project_id)) for project_id in found]
                adopted += await project_registry.write(self._projects, entries)
        return adopted

    async def _unlisted(self, collection: Collection) -> AsyncIterator[list[str]]:
        """The ids of projects that something in a collection is of, and that are not listed."""
        found = collection.aggregate([{"$group": {"_id": "$project_id"}}], batchSize=_AT_ONCE)
        while rows := await found.to_list(_AT_ONCE):
            there = [row["_id"] for row in rows]
            listed = await self._projects.distinct("_id", {"_id": {"$in": there}})
            if unlisted := sorted(set(there) - set(listed)):
                yield unlisted

    async def _span(self, project_id: str) -> tuple[int, int]:
        """When the first and the last of a project's calls and objects came; now, where it has none."""
        times_of = ((self.database.calls, "started_at"), (self.database.objects, "created_at"))
        match = {"project_id": project_id, **_VISIBLE}
        ends = [
            row[field]
            for collection, field in times_of
            for order in (1, -1)
            async for row in collection.find(match, {field: 1}, sort=[(field, order)], limit=1)
        ]
        return (min(ends), max(ends)) if ends else (times.now(), times.now())


def named(entity: str, name: str) -> str:
    """The id of the project of an entity and a name, once that is normalised.

    Raises:
        BadInputError: the entity or the name breaks a rule.
    """
    return f"{_checked_entity(entity)}/{_checked_name(name)}"


def _some(project_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The projects in parts, each for a command of its own."""
    return (project_ids[start : start + _COUNTED_AT_ONCE] for start in range(0, len(project_ids), _COUNTED_AT_ONCE))


def _match(projects_filter: ProjectsFilter | None) -> dict[str, Any]:
    return projects_filter.match() if projects_filter else {}


def _among(projects: tuple[str, ...]) -> dict[str, Any]:
    """The match of projects that are among some."""
    entities = [projects.removesuffix("*") for projects in projects if projects.endswith("/*")]
    return {"$or": [{"_id": {"$in": list(projects)}}, *({"_id": starting_with(entity)} for entity in entities)]}


def _paths(wanted: Iterable[str]) -> list[str]:
    return [*(_STORED & set(wanted) - {"id"}), "id"]


def _checked_entity(entity: str) -> str:
    ids.check_project_part(entity, "entity")
    if _normalised(entity) != entity:
        raise BadInputError(
            f"{entity!r} has space around it or is not in composed form (NFC); send it without", "entity"
        )
    return entity


def _checked_name(name: str) -> str:
    ids.check_project_part(name, "project")
    normalised = _normalised(name)
    if not ids.is_project_part(normalised):
        raise BadInputError(
            f"{name[:64]!r} cannot be half of a project id: after taking off space and composing it (NFC) it is "
            f"{normalised[:64]!r}, of {len(normalised)} characters; use {ids.PROJECT_PART_RULE}",
            "project",
        )
    return normalised


def _normalised(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()
