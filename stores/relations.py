"""Relations between collections: batched lookups of related documents for many entities at once, page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from stores import paging
from stores.concurrency.time_slices import cooperative_async, cooperative_batches
from stores.database import Collection, Database, database_query
from stores.database.driver import all_rows, in_one_read
from stores.database.transactions import Session
from stores.paging import Order, Page, PageRequest, Row

_ONE_BATCH: Final = 1_000_000
"""Batch size that makes MongoDB return all rows in one reply of 16 MiB; its default first batch has 101."""

_MAX_SHARED_ROWS: Final = 500
"""Maximum rows of several values' pages that one query reads, in place of one lookup per value."""

_FEW: Final = 10
"""Documents per value from which lookups count as fast as one query that finds all documents."""

Key = tuple[Any, ...]
"""Lookup key of an entity: its scope (project id first), then the value to match in the related documents."""

Match = dict[str, Any]
Finish = Callable[[Database, str, Sequence[Row], set[str]], Awaitable[None]]
"""Adds fields that are not stored with the rows of a project, if they are wanted."""


@dataclass(eq=False, slots=True)
class OneToMany:
    """Relation to the documents whose `field` has an entity's value; a list field matches by any member.

    `match` builds the filter from a scope and the shared arguments; it must start with the project. `paths_of` maps
    wanted fields to document paths. `transform` builds, from the arguments of `match`, stages that turn the matching
    documents into others.
    """

    database: Database
    collection: Collection
    field: str
    order: Order
    match: Callable[..., Match]
    paths_of: Callable[[Iterable[str]], list[str]]
    finish: Finish | None = None
    transform: Callable[..., Sequence[Match]] | None = None

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
        for scope, values in await by_scope(keys):
            match, transform = self._stages(*scope, *arguments)
            pages = await self._find_pages(values, match, transform, request, paths)
            if self.finish:
                await self.finish(
                    self.database, scope[0], [row for page in pages.values() for row in page.rows], {*wanted}
                )
            results |= {(*scope, value): page for value, page in pages.items()}
        return results

    @database_query
    async def count(self, keys: Sequence[Key], limit: int | None = None, *arguments: Hashable) -> dict[Key, int]:
        """Return the number of related documents per key, up to `limit`, in one command per scope."""
        results: dict[Key, int] = {}
        for scope, values in await by_scope(keys):
            match, transform = self._stages(*scope, *arguments)
            counts = await count_each(self.collection, self.field, values, match, transform, limit)
            results |= {(*scope, value): count for value, count in counts.items()}
        return results

    def _stages(self, *arguments: Hashable) -> tuple[Match, Sequence[Match]]:
        return self.match(*arguments), self.transform(*arguments) if self.transform else ()

    async def _find_pages(
        self,
        values: Sequence[str],
        match: Match,
        transform: Sequence[Match],
        request: PageRequest,
        paths: Sequence[str],
    ) -> dict[str, Page]:
        """Read one page per value in one command.

        A cursor belongs to one value's page, so several values with a cursor always raise.
        """
        if request.cursor is not None or len(values) == 1:
            pages = {}
            for value in values:
                source, last = _split_match({**match, self.field: value}, transform)
                pages[value] = await paging.find_page(self.collection, last, self.order, request, paths, source)
            return pages

        def scope(value: str) -> bytes:
            source, last = _split_match({**match, self.field: value}, transform)
            return paging.scope_of(self.collection.name, *source, last, self.order)

        found = None if transform else await self._find_few(values, match, request, paths)
        if found is None:
            source, last = _split_match(match, transform)
            pipeline = [*source, *paging.page_pipeline(last, self.order, request, paths)]
            found = {value: [] for value in values}
            async for row in cooperative_async(_pipeline_per_value(self.collection, self.field, values, pipeline)):
                found[row["value"]].append(row["rows"])
        # All values that lead nowhere share this page: it has no cursors.
        empty_page = paging.build_page([], request, self.order, b"")
        pages = dict.fromkeys(found, empty_page)
        async for batch in cooperative_batches([value for value, rows in found.items() if rows]):
            for value in batch:
                pages[value] = paging.build_page(found[value], request, self.order, partial(scope, value))
        return pages

    async def _find_few(
        self, values: Sequence[str], match: Match, request: PageRequest, paths: Sequence[str]
    ) -> dict[str, list[Row]] | None:
        """Return each value's rows, up to one more than its page; None if there are too many rows for one query.

        One query for all values takes a fraction of one lookup per value. It needs plain sort keys that all rows have.
        """
        keys = [key.path for key in self.order.keys]
        # At most as many rows as one lookup per value would read.
        limit = min(_MAX_SHARED_ROWS, len(values) * (request.offset + request.size + 1))
        stages: list[dict[str, Any]] = [
            {"$match": {**match, self.field: {"$in": list(values)}}},
            {"$limit": limit + 1},
            {"$project": {"_id": 0} | dict.fromkeys([*paths, *keys, self.field], 1)},
        ]
        rows = await all_rows(self.collection, stages, limit + 2)
        if len(rows) > limit:
            return None
        found: dict[str, list[Row]] = {value: [] for value in values}
        for row in sorted(rows, key=lambda row: [row[path] for path in keys], reverse=request.backward):
            value_or_list = row[self.field]
            if not isinstance(value_or_list, list):
                found[value_or_list].append(row)
                continue
            for value in found.keys() & value_or_list:
                # One copy per value: callers add fields to the row.
                found[value].append(dict(row))
        first, end = request.offset, request.offset + request.size + 1
        return {value: some[first:end] for value, some in found.items()}


def _split_match(match: Match, transform: Sequence[Match]) -> tuple[Sequence[Match], Match]:
    """Return the stages before the sort, and the filter that remains for it."""
    return ([{"$match": match}, *transform], {}) if transform else ([], match)


async def by_scope(keys: Sequence[Key]) -> list[tuple[Key, list[str]]]:
    """Group the keys' last values by scope."""
    scopes: dict[Key, list[str]] = {}
    async for batch in cooperative_batches(keys):
        for key in batch:
            scopes.setdefault(key[:-1], []).append(key[-1])
    return list(scopes.items())


async def count_each(
    collection: Collection,
    field: str,
    values: Sequence[str],
    match: dict[str, Any],
    transform: Sequence[dict[str, Any]] = (),
    limit: int | None = None,
) -> dict[str, int]:
    """Count the matching documents per value of `field`, up to `limit`; a list field matches by any member.

    It takes one command for few documents, else two. `transform` stages turn the documents into others before the
    count. Values without documents count 0.
    """
    if not transform and len(values) > 1:
        few = await _count_few(collection, field, values, match, limit)
        if few is not None:
            return few
    stages = [{"$match": match}, *transform, *paging.count_stages(limit)]
    counted = _pipeline_per_value(collection, field, values, stages)
    found = {row["value"]: row["rows"]["number"] async for row in cooperative_async(counted)}
    return dict.fromkeys(values, 0) | found


async def _count_few(
    collection: Collection, field: str, values: Sequence[str], match: Match, limit: int | None
) -> dict[str, int] | None:
    """Count the documents of all values in one query; return None if there are too many.

    For 100 values, lookups take seven times as long, and fifty times on a sharded cluster, where each asks the shards.
    """
    most = min(_MAX_SHARED_ROWS, len(values) * min(limit or _FEW, _FEW))
    stages: list[Match] = [
        {"$match": {**match, field: {"$in": list(values)}}},
        {"$limit": most + 1},
        {"$group": {"_id": f"${field}", "number": {"$sum": 1}}},
    ]
    rows = await all_rows(collection, stages, most + 2)
    if sum(row["number"] for row in rows) > most:
        return None
    counts = dict.fromkeys(values, 0)
    for row in rows:
        members = row["_id"] if isinstance(row["_id"], list) else [row["_id"]]
        for value in counts.keys() & members:
            counts[value] += row["number"]
    return counts if limit is None else {value: min(count, limit) for value, count in counts.items()}


async def sum_each(
    collection: Collection,
    field: str,
    values: Sequence[str],
    match: Match,
    path: str | None = None,
    *,
    session: Session | None = None,
    **hint: Any,
) -> dict[str, int]:
    """Sum a path of the matching documents per value of `field`, or count them; values without documents have 0.

    An index must begin with what is matched and include the path. Without a snapshot, an entry that moves within the
    index is counted twice or not at all.
    """
    stages = [
        {"$match": {field: {"$in": list(values)}, **match}},
        {"$group": {"_id": f"${field}", "sum": {"$sum": f"${path}" if path else 1}}},
    ]
    found = in_one_read(collection).aggregate(stages, session=session, batchSize=len(values) + 1, **hint)
    return dict.fromkeys(values, 0) | {row["_id"]: row["sum"] async for row in found}


def _pipeline_per_value(
    collection: Collection, field: str, values: Sequence[str], pipeline: list[dict[str, Any]]
) -> AsyncIterator[Row]:
    """Run the pipeline once per value; yield each result as `rows` together with its `value`."""
    joined = {"from": collection.name, "localField": "value", "foreignField": field, "pipeline": pipeline, "as": "rows"}
    stages: list[dict[str, Any]] = [
        # `$facet` makes one document, even of none. Routers refuse `$documents` before `$lookup`.
        {"$match": {"_id": ""}},
        {"$facet": {"none": [{"$limit": 1}]}},
        {"$project": {"value": {"$literal": list(values)}}},
        {"$unwind": "$value"},
        {"$lookup": joined},
        {"$unwind": "$rows"},
    ]
    # This collection is not sharded, so only the shard that makes the document runs the rest.
    unsharded = in_one_read(collection.database["leases"])
    return aiter(unsharded.aggregate(stages, allowDiskUse=True, batchSize=_ONE_BATCH))
