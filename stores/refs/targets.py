"""What refs lead into: versions of objects and rows of tables, read for many refs in a few commands."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from stores.database import Collection, Database, Document, content_store
from stores.errors import BadInputError
from stores.json import codec
from stores.refs.grammar import Ref

MAX_CHARACTERS: Final = 100_000_000
"""Of JSON that one request may read or give by way of refs."""

_GROUP: Final = 5_000


@dataclass(frozen=True, slots=True)
class RowKey:
    """A row of a table."""

    project_id: str
    table: str
    digest: str


Target = Ref | RowKey
"""What is read as a whole: a version, whose ref has no edges, or a row."""


@dataclass(frozen=True)
class Content:
    """The JSON text of a target, None where that is deleted."""

    text: str | None

    @cached_property
    def value(self) -> object:
        """The parsed value; it must not be changed."""
        return None if self.text is None else codec.loads(self.text.encode())


class Budget:
    """What one request has read, and what it gives, by way of refs; each is at most `MAX_CHARACTERS`.

    What is beyond raises a BadInputError, before more is made of it.
    """

    def __init__(self) -> None:
        self._read = self._given = 0

    def read(self, text: str | None) -> None:
        """Count a text that was read."""
        self._read += len(text or "")
        self._check(self._read)

    def give(self, text: str | None) -> None:
        """Count a text that is given, as often as it is."""
        self._given += len(text or "")
        self._check(self._given)

    def _check(self, characters: int) -> None:
        if characters > MAX_CHARACTERS:
            raise BadInputError(f"leads to more than {MAX_CHARACTERS:,} characters of JSON; ask for less at once")


class TargetReader:
    """The collections that refs lead into."""

    def __init__(self, database: Database) -> None:
        self._objects = database.objects
        self._tables = database.tables
        self._chunks = database.table_chunks
        self._rows = database.table_rows

    async def read_targets(self, targets: AbstractSet[Target], budget: Budget) -> dict[Target, Content]:
        """The content of those targets that are there; at most four commands for each 5,000 of them.

        Raises:
            BadInputError: they take more than the budget has left.
        """
        versions = {target.version_id: target for target in targets if isinstance(target, Ref)}
        rows = [target for target in targets if isinstance(target, RowKey)]
        found: dict[Target, Content] = {}
        async for target, text in self._read(versions, rows):
            budget.read(text)
            found[target] = Content(text)
        return found

    async def _read(
        self, versions: Mapping[str, Ref], rows: Sequence[RowKey]
    ) -> AsyncIterator[tuple[Target, str | None]]:
        projects = {ref.project_id for ref in versions.values()}
        async for document in _find(self._objects, versions, projects, {"visible": 1, "json.val": 1}):
            yield versions[document["_id"]], document["json"]["val"] if document["visible"] else None
        if not rows:
            return
        members: dict[str, list[RowKey]] = {}
        for row in await self._members(rows):
            members.setdefault(content_store.key(row.project_id, row.digest), []).append(row)
        projects = {row.project_id for row in rows}
        async for document in _find(self._rows, members, projects, {"json.val": 1}):
            for row in members[document["_id"]]:
                yield row, document["json"]["val"]

    async def _members(self, rows: Sequence[RowKey]) -> list[RowKey]:
        """Those of some rows that are in their tables."""
        projects = {row.project_id for row in rows}
        tables = {content_store.key(row.project_id, row.table) for row in rows}
        chunks_of = {
            table["_id"]: [content_store.key(table["project_id"], chunk) for chunk in table["chunks"]]
            async for table in _find(self._tables, tables, projects, {"project_id": 1, "chunks": 1})
        }
        wanted = list({row.digest for row in rows})
        chunks = {chunk for each in chunks_of.values() for chunk in each}
        projection = {"row_digests": {"$setIntersection": ["$row_digests", {"$literal": wanted}]}}
        digests_in = {
            chunk["_id"]: chunk["row_digests"]
            async for chunk in _find(self._chunks, chunks, projects, projection, {"row_digests": {"$in": wanted}})
        }
        there = {
            table: {digest for chunk in each for digest in digests_in.get(chunk, ())}
            for table, each in chunks_of.items()
        }
        return [row for row in rows if row.digest in there.get(content_store.key(row.project_id, row.table), ())]


async def _find(
    collection: Collection,
    keys: Iterable[str],
    projects: Iterable[str],
    projection: dict[str, Any],
    match: dict[str, Any] | None = None,
) -> AsyncIterator[Document]:
    """The documents of some keys in any of some projects; each key holds that of its own project."""
    for part in content_store.batches(list(keys), _GROUP):
        by_key = {"_id": {"$in": part}, "project_id": {"$in": list(projects)}} | (match or {})
        async for document in collection.find(by_key, projection, batch_size=len(part) + 1):
            yield document
