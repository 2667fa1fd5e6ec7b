"""Edges: from many entities at once to what leads back to each by the value of one field, page by page."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from stores import paging
from stores.concurrency.time_slices import cooperative_batches
from stores.database import Collection, Database, database_query
from stores.database.snapshot_reads import find_all
from stores.paging import Order, Page, PageRequest, Row

Key = tuple[Any, ...]
"""The scope of an entity, of which its project comes first, and last the value that leads to what is found for it."""

Match = dict[str, Any]
Finish = Callable[[Database, str, Sequence[Row], set[str]], Awaitable[None]]
"""Adds to the rows of a project what wanted fields need beside what is stored."""


@dataclass(eq=False, slots=True)
class OneToMany:
    """An edge to the documents of a collection whose `field`, or a member of it, has an entity's value.

    A scope, and what else is asked alike for all entities, make a `match`, which must begin with the project; the
    fields that are wanted make paths into the documents. Others may be `made` of what matches, by stages.
    """

    database: Database
    collection: Collection
    field: str
    order: Order
    match: Callable[..., Match]
    paths_of: Callable[[Iterable[str]], list[str]]
    finish: Finish | None = None
    made: Sequence[dict[str, Any]] = ()

    @database_query
    async def pages(
        self, keys: Sequence[Key], wanted: frozenset[str], request: PageRequest, *given: Hashable
    ) -> dict[Key, Page]:
        """For each key a page with the wanted fields of what it leads to, in one command for each scope.

        Raises:
            BadInputError: the cursor is none of a key's page.
        """
        found: dict[Key, Page] = {}
        paths = self.paths_of(wanted)
        for scope, values in await _by_scope(keys):
            match = self.match(*scope, *given)
            pages = await paging.find_pages(
                self.collection, self.field, values, match, self.order, request, paths, self.made
            )
            if self.finish:
                await self.finish(
                    self.database, scope[0], [row for page in pages.values() for row in page.rows], {*wanted}
                )
            found |= {(*scope, value): page for value, page in pages.items()}
        return found

    @database_query
    async def count(self, keys: Sequence[Key], *given: Hashable) -> dict[Key, int]:
        """For each key how much it leads to, in one command for each scope."""
        found: dict[Key, int] = {}
        for scope, values in await _by_scope(keys):
            match = self.match(*scope, *given)
            counts = await paging.count_each(self.collection, self.field, values, match, self.made)
            found |= {(*scope, value): count for value, count in counts.items()}
        return found


async def _by_scope(keys: Sequence[Key]) -> list[tuple[Key, list[str]]]:
    """The values of each scope."""
    scopes: dict[Key, list[str]] = {}
    async for stretch in cooperative_batches(keys):
        for key in stretch:
            scopes.setdefault(key[:-1], []).append(key[-1])
    return list(scopes.items())


@dataclass(eq=False, slots=True)
class ManyToOne:
    """An edge to the one document, if it matches, whose `_id` is made of a project and an id."""

    database: Database
    collection: Collection
    id_path: str
    paths_of: Callable[[Iterable[str]], list[str]]
    match: Match = field(default_factory=dict)

    @database_query
    async def rows(self, keys: Sequence[tuple[str, str]], wanted: frozenset[str]) -> dict[tuple[str, str], Row | None]:
        """For each project and id in it the wanted fields of what is there, None where nothing is; in one command."""
        among = {
            "_id": {"$in": [f"{project_id}:{name}" for project_id, name in keys]},
            "project_id": {"$in": list({project_id for project_id, _ in keys})},
        }
        shown = dict.fromkeys(["project_id", self.id_path, *self.paths_of(wanted)], 1)
        rows = await find_all(self.collection, among | self.match, {"_id": 0} | shown, len(keys))
        found = {(row["project_id"], row[self.id_path]): row for row in rows}
        return {key: found.get(key) for key in keys}
