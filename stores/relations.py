"""Relations between collections: batched lookups of related documents for many entities at once, page by page."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stores import paging
from stores.concurrency.time_slices import cooperative_batches
from stores.database import Collection, Database, database_query
from stores.database.reads import find_all
from stores.paging import Order, Page, PageRequest, Row

Key = tuple[Any, ...]
"""Lookup key of an entity: its scope (project id first), then the value to match in the related documents."""

Match = dict[str, Any]
Finish = Callable[[Database, str, Sequence[Row], set[str]], Awaitable[None]]
"""Adds fields that are not stored with the rows of a project, if they are wanted."""


@dataclass(eq=False, slots=True)
class OneToMany:
    """Relation to the documents whose `field` has an entity's value; a list field matches by any member.

    `match` builds the filter from a scope and the shared arguments; it must start with the project. `paths_of` maps
    wanted fields to document paths. `transform` stages turn the matching documents into others.
    """

    database: Database
    collection: Collection
    field: str
    order: Order
    match: Callable[..., Match]
    paths_of: Callable[[Iterable[str]], list[str]]
    finish: Finish | None = None
    transform: Sequence[dict[str, Any]] = ()

    @database_query
    async def pages(
        self, keys: Sequence[Key], wanted: frozenset[str], request: PageRequest, *arguments: Hashable
    ) -> dict[Key, Page]:
        """Return a page with the wanted fields per key, in one command per scope.

        Raises:
            BadInputError: if the cursor belongs to none of the keys' pages.
        """
        results: dict[Key, Page] = {}
        paths = self.paths_of(wanted)
        for scope, values in await _by_scope(keys):
            match = self.match(*scope, *arguments)
            pages = await paging.find_pages(
                self.collection, self.field, values, match, self.order, request, paths, self.transform
            )
            if self.finish:
                await self.finish(
                    self.database, scope[0], [row for page in pages.values() for row in page.rows], {*wanted}
                )
            results |= {(*scope, value): page for value, page in pages.items()}
        return results

    @database_query
    async def count(self, keys: Sequence[Key], *arguments: Hashable) -> dict[Key, int]:
        """Return the number of related documents per key, in one command per scope."""
        results: dict[Key, int] = {}
        for scope, values in await _by_scope(keys):
            match = self.match(*scope, *arguments)
            counts = await paging.count_each(self.collection, self.field, values, match, self.transform)
            results |= {(*scope, value): count for value, count in counts.items()}
        return results


async def _by_scope(keys: Sequence[Key]) -> list[tuple[Key, list[str]]]:
    """Group the keys' last values by scope."""
    scopes: dict[Key, list[str]] = {}
    async for batch in cooperative_batches(keys):
        for key in batch:
            scopes.setdefault(key[:-1], []).append(key[-1])
    return list(scopes.items())


@dataclass(eq=False, slots=True)
class ManyToOne:
    """Relation to the one document whose `_id` is `project_id:id`, if it also matches `match`."""

    database: Database
    collection: Collection
    id_path: str
    paths_of: Callable[[Iterable[str]], list[str]]
    match: Match = field(default_factory=dict)

    @database_query
    async def rows(self, keys: Sequence[tuple[str, str]], wanted: frozenset[str]) -> dict[tuple[str, str], Row | None]:
        """Return the wanted fields per pair of project id and id, in one command; None if no document exists."""
        match = {
            "_id": {"$in": [f"{project_id}:{name}" for project_id, name in keys]},
            "project_id": {"$in": list({project_id for project_id, _ in keys})},
        }
        projection = dict.fromkeys(["project_id", self.id_path, *self.paths_of(wanted)], 1)
        rows = await find_all(self.collection, match | self.match, {"_id": 0} | projection, len(keys))
        results = {(row["project_id"], row[self.id_path]): row for row in rows}
        return {key: results.get(key) for key in keys}
