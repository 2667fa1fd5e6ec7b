"""Ref targets: object versions and table rows, read for many refs in a few commands."""

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
"""Maximum characters of JSON that one request may read, or return, through refs."""

_BATCH_SIZE: Final = 5_000


@dataclass(frozen=True, slots=True)
class RowKey:
    """A row of a table."""

    project_id: str
    table: str
    digest: str


Target = Ref | RowKey
"""A target that is read as a whole: a version, whose ref has no steps, or a row."""


@dataclass(frozen=True)
class Content:
    """The JSON text of a target; None if it is deleted."""

    text: str | None

    @cached_property
    def value(self) -> object:
        """The parsed value; callers must not change it."""
        return None if self.text is None else codec.loads(self.text.encode())


class Budget:
    """Characters that one request has read and returned through refs, each at most `MAX_CHARACTERS`.

    Both methods raise BadInputError above the limit.
    """

    def __init__(self) -> None:
        self._read_characters = self._returned_characters = 0

    def count_read(self, text: str | None) -> None:
        """Count a text that was read."""
        self._read_characters += len(text or "")
        self._check(self._read_characters)

    def count_returned(self, text: str | None) -> None:
        """Count a text each time it is returned."""
        self._returned_characters += len(text or "")
        self._check(self._returned_characters)

    def _check(self, characters: int) -> None:
        if characters > MAX_CHARACTERS:
            raise BadInputError(f"exceeds {MAX_CHARACTERS:,} characters of JSON; request fewer refs at once")


class TargetReader:
    """Reads ref targets from their collections."""

    def __init__(self, database: Database) -> None:
        self._objects = database.objects
        self._tables = database.tables
        self._chunks = database.table_chunks
        self._rows = database.table_rows

    async def read_targets(self, targets: AbstractSet[Target], budget: Budget) -> dict[Target, Content]:
        """Return the content of the existing targets, in at most four commands per 5,000 targets.

        Raises:
            BadInputError: if they exceed the budget.
        """
        versions = {target.version_id: target for target in targets if isinstance(target, Ref)}
        rows = [target for target in targets if isinstance(target, RowKey)]
        contents: dict[Target, Content] = {}
        async for target, text in self._read_texts(versions, rows):
            budget.count_read(text)
            contents[target] = Content(text)
        return contents

    async def _read_texts(
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
        """Return the rows that belong to their tables."""
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
        present = {
            table: {digest for chunk in each for digest in digests_in.get(chunk, ())}
            for table, each in chunks_of.items()
        }
        return [row for row in rows if row.digest in present.get(content_store.key(row.project_id, row.table), ())]


async def _find(
    collection: Collection,
    keys: Iterable[str],
    projects: Iterable[str],
    projection: dict[str, Any],
    match: dict[str, Any] | None = None,
) -> AsyncIterator[Document]:
    """Yield the documents with the keys in the projects; each key includes its project."""
    for batch in content_store.batches(list(keys), _BATCH_SIZE):
        by_key = {"_id": {"$in": batch}, "project_id": {"$in": list(projects)}} | (match or {})
        async for document in collection.find(by_key, projection, batch_size=len(batch) + 1):
            yield document
