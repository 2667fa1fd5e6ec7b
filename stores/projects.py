"""The projects of a database: lists, counts and sizes."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from stores import ids, paging, times
from stores.database import (
    Collection,
    Database,
    content_store,
    database_query,
    database_write,
    long_database_write,
    project_registry,
)
from stores.errors import BadInputError
from stores.paging import Page, PageRequest, Row, starting_with
from stores.query.fields import Field, FieldTable, Kind
from stores.query.sort import SortBy, compile_sort
from stores.relations import sum_each
from stores.rollups import reads

PROJECT_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("entity", "entity", optional=False),
        Field("name", "name", optional=False),
        Field("created_at", "created_at", Kind.TIME, optional=False),
        Field("last_activity_at", "last_activity_at", Kind.TIME),
    ]
)

_BATCH_SIZE: Final = 1_000

_PROJECTS_PER_COMMAND: Final = 25
"""Projects per count or sum command, so that no command reads the keys of too many projects."""

_VISIBLE: Final[dict[str, object]] = {"visible": True}


@dataclass(frozen=True, slots=True)
class ProjectsFilter:
    """Filter on projects by entity and by a prefix of their name; null or empty fields filter nothing.

    `among` restricts to listed projects, each entity/project, or entity/* for all of an entity. None means all
    projects; an empty tuple means none.
    """

    entity: str | None = None
    name_prefix: str | None = None
    among: tuple[str, ...] | None = None

    def match(self) -> dict[str, Any]:
        """Return the filter as a MongoDB match.

        Raises:
            BadInputError: if no such entity or name can exist.
        """
        if self.entity:
            ids.check_project_part(self.entity, "filter.entity")
        if self.name_prefix and not ids.can_start_project_part(self.name_prefix):
            raise BadInputError(
                f"no project name starts with {self.name_prefix[:64]!r}; use {ids.PROJECT_PART_RULE}",
                "filter.name_prefix",
            )
        among: dict[str, Any] = {}
        if self.among is not None:
            entities = [projects.removesuffix("*") for projects in self.among if projects.endswith("/*")]
            of_entities = [{"_id": starting_with(entity)} for entity in entities]
            among = {"$or": [{"_id": {"$in": list(self.among)}}, *of_entities]}
        if self.entity:
            return {"id": starting_with(f"{self.entity}/{self.name_prefix or ''}")} | among
        return ({"name": starting_with(self.name_prefix)} if self.name_prefix else {}) | among


class ProjectsStore:
    """Projects in MongoDB.

    Rows are dicts of a project's `id` (entity/project) and, if wanted, `entity`, `name`, `created_at` and
    `last_activity_at` in microseconds since the epoch. `last_activity_at` is absent if nothing was ever stored.
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
        """List a project under its normalised name if it is new; return its row.

        A name is normalised to Unicode's composed form (NFC) without outer spaces. An entity must be so already.

        Raises:
            BadInputError: if the entity or the name is invalid.
        """
        project_id = normalised_id(entity, name)
        await project_registry.write_entries(self._projects, [project_registry.entry(project_id)])
        return {"id": project_id, "entity": entity, "name": project_id.partition("/")[2]}

    async def one(self, project_id: str, wanted: Iterable[str]) -> Row | None:
        """Return the wanted fields of a project; None if it does not exist."""
        ids.check_project_id(project_id)
        return (await self.by_ids([project_id], frozenset(wanted)))[project_id]

    @database_query
    async def by_ids(self, project_ids: Sequence[str], wanted: frozenset[str]) -> dict[str, Row | None]:
        """Return the wanted fields per project id; None for projects that do not exist."""
        found, projection = {"_id": {"$in": list(project_ids)}}, {"_id": 0} | dict.fromkeys(_paths(wanted), 1)
        rows = self._projects.find(found, projection, batch_size=len(project_ids) + 1)
        return dict.fromkeys(project_ids) | {row["id"]: row async for row in rows}

    @database_query
    async def page(
        self,
        request: PageRequest,
        wanted: Iterable[str],
        projects_filter: ProjectsFilter | None = None,
        sort_by: Sequence[SortBy] | None = None,
    ) -> Page:
        """Return a page of projects with the wanted fields, sorted by id by default.

        Raises:
            BadInputError: if the filter, the sort or the cursor is invalid.
        """
        order = compile_sort(sort_by or (SortBy("id"),), PROJECT_FIELDS)
        return await paging.find_page(self._projects, _match(projects_filter), order, request, _paths(wanted))

    @database_query
    async def count(self, projects_filter: ProjectsFilter | None = None, *, limit: int | None = None) -> int:
        """Count the projects that match the filter, up to `limit`."""
        return await paging.count(self._projects, [{"$match": _match(projects_filter)}], limit)

    @database_query
    async def count_calls(self, project_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of calls per project."""
        return await self._sum_calls(project_ids, "count", self._count_calls)

    async def _count_calls(self, project_ids: Sequence[str]) -> dict[str, int]:
        return await self._count_each(self.database.calls, project_ids, _VISIBLE)

    async def _sum_calls(
        self, project_ids: Sequence[str], name: str, read_calls: Callable[[Sequence[str]], Awaitable[dict[str, int]]]
    ) -> dict[str, int]:
        """Return a value of roll-ups per project; `read_calls` computes that of projects without roll-ups."""
        found = await _in_batches(project_ids, lambda batch: reads.total_each(self.database, batch, name))
        others = [project_id for project_id in project_ids if project_id not in found]
        return found | (await read_calls(others) if others else {})

    @database_query
    async def count_objects(self, project_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of object and op versions per project."""
        return await self._count_each(self.database.objects, project_ids, _VISIBLE)

    @database_query
    async def count_feedback(self, project_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of feedback items per project."""
        return await self._count_each(self.database.feedback, project_ids, {})

    async def _count_each(
        self, collection: Collection, project_ids: Sequence[str], match: dict[str, Any]
    ) -> dict[str, int]:
        return await _in_batches(project_ids, lambda batch: sum_each(collection, "project_id", batch, match))

    @database_query
    async def sizes(self, project_ids: Sequence[str], wanted: frozenset[str]) -> dict[str, Row]:
        """Return the wanted sizes per project in bytes, of its four; 0 without content.

        Deleted documents and calls that have not started take 0 bytes.

        Raises:
            BadInputError: if an id is not a project id.
        """
        for project_id in project_ids:
            ids.check_project_id(project_id)
        names = [name for name in self._sizes if name in wanted]
        sums = await asyncio.gather(*(self._sum_each(project_ids, name) for name in names))
        return {one: {name: found[one] for name, found in zip(names, sums, strict=True)} for one in project_ids}

    async def _sum_each(self, project_ids: Sequence[str], name: str) -> dict[str, int]:
        if self._sizes[name][0] is self.database.calls:
            return await self._sum_calls(project_ids, self._sizes[name][2], partial(self._sum_documents, name=name))
        return await self._sum_documents(project_ids, name)

    async def _sum_documents(self, project_ids: Sequence[str], name: str) -> dict[str, int]:
        collection, match, path = self._sizes[name]
        return await _in_batches(project_ids, lambda batch: sum_each(collection, "project_id", batch, match, path))

    @long_database_write
    async def list_unlisted(self) -> int:
        """List projects that have documents but no entry in the registry; return their number.

        Databases filled before the registry existed, or by other programs, have such projects. It costs one index
        lookup per project and collection.
        """
        database = self.database
        filled = (database.calls, database.objects, database.table_rows, database.files)
        listed_count = 0
        for collection in (*filled, database.feedback, database.costs):
            async for project_ids in self._unlisted(collection):
                entries = [
                    project_registry.entry(project_id, *await self._activity_range(project_id))
                    for project_id in project_ids
                ]
                listed_count += await project_registry.write_entries(self._projects, entries)
        return listed_count

    async def _unlisted(self, collection: Collection) -> AsyncIterator[list[str]]:
        """Yield batches of unlisted ids of projects with documents in a collection."""
        cursor = collection.aggregate([{"$group": {"_id": "$project_id"}}], batchSize=_BATCH_SIZE)
        while rows := await cursor.to_list(_BATCH_SIZE):
            present = [row["_id"] for row in rows]
            listed = await self._projects.distinct("_id", {"_id": {"$in": present}})
            if unlisted := sorted(set(present) - set(listed)):
                yield unlisted

    async def _activity_range(self, project_id: str) -> tuple[int, int]:
        """Return the times of the first and last call or object of a project; now if it has none."""
        times_of = ((self.database.calls, "started_at"), (self.database.objects, "created_at"))
        match = {"project_id": project_id, **_VISIBLE}
        ends = [
            row[field]
            for collection, field in times_of
            for order in (1, -1)
            async for row in collection.find(match, {field: 1}, sort=[(field, order)], limit=1)
        ]
        return (min(ends), max(ends)) if ends else (times.now(), times.now())


def normalised_id(entity: str, name: str) -> str:
    """Return the project id of an entity and a name, after normalising the name.

    Raises:
        BadInputError: if the entity or the name is invalid.
    """
    ids.check_project_part(entity, "entity")
    if _normalised(entity) != entity:
        raise BadInputError(f"{entity!r} has outer spaces or is not in composed form (NFC); normalise it", "entity")
    ids.check_project_part(name, "project")
    normalised = _normalised(name)
    if not ids.is_project_part(normalised):
        raise BadInputError(
            f"{name[:64]!r} is not valid as half of a project id: normalised (NFC, no outer spaces) it is "
            f"{normalised[:64]!r}, of {len(normalised)} characters; use {ids.PROJECT_PART_RULE}",
            "project",
        )
    return f"{entity}/{normalised}"


async def _in_batches(
    project_ids: Sequence[str], find: Callable[[Sequence[str]], Awaitable[dict[str, int]]]
) -> dict[str, int]:
    """Return what `find` returns for the projects, one command per batch."""
    found: dict[str, int] = {}
    for batch in content_store.batches(project_ids, _PROJECTS_PER_COMMAND):
        found |= await find(batch)
    return found


def _match(projects_filter: ProjectsFilter | None) -> dict[str, Any]:
    return projects_filter.match() if projects_filter else {}


def _paths(wanted: Iterable[str]) -> list[str]:
    names = {*wanted, "id"}
    return [field.name for field in PROJECT_FIELDS if field.name in names]


def _normalised(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()
