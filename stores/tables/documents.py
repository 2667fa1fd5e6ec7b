"""Documents of tables: rows and chunks, which tables share, and the chunks of each table in order; updates of tables.

Chunks are content-defined pieces of a table's list of row digests. The digests themselves determine where a chunk ends.
So chunk boundaries recur after a change, and tables with mostly equal rows share most chunks, however they were made.
"""

import hashlib
import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import bson

from stores import digests, refs
from stores.concurrency.time_slices import TimeSlice, cooperative
from stores.database import Collection, Database, Document, content_store
from stores.database.transactions import Session
from stores.errors import BadInputError, ErrorsAt, PayloadTooLargeError
from stores.input_checks import check_count
from stores.json import codec, paths
from stores.json.bson_copy import to_bson
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields
from stores.query.sort import SortBy

MAX_ROW_BYTES: Final = 16_000_000
"""Limit on a row in BSON."""

MAX_ROW_DIGESTS: Final = 10_000
"""Limit on the digests of a filter, so that it fits into one command."""

_DIGEST: Final = re.compile("[A-Za-z0-9]{43}")

_MAX_GROWTH: Final = 14
"""Maximum size of text and BSON copy together, as a multiple of the text."""

ROW_FIELDS: Final = FieldTable(
    [Field("digest", "digest", optional=False), Field("val", "val", Kind.JSON, text_path="json.val")]
)

INDEXED_ROW_FIELDS: Final = IndexedFields(ROW_FIELDS, "table_rows")
"""Fields of rows, none of which has an index: a condition or a sort reads all rows of a table."""

_READS: Final = {"val": "json.val", "digest": "digest", "size_bytes": "size_bytes"}


def paths_of(wanted: Iterable[str]) -> list[str]:
    """Return the document paths of the selected fields."""
    return [_READS[name] for name in wanted if name in _READS]


@dataclass(frozen=True, slots=True)
class RowContent:
    """A row to store: its value, exact text, and JSON size in bytes."""

    digest: str
    value: object
    text: str
    size_bytes: int

    @classmethod
    def of(cls, row: object, argument: str) -> Self:
        """Validate and digest a row.

        Raises:
            BadInputError: it is not a JSON object, exceeds the JSON limits, or uses the reserved scheme of refs.
            PayloadTooLargeError: it takes more than `MAX_ROW_BYTES` in BSON.
        """
        if not isinstance(row, dict):
            raise BadInputError('must be a JSON object such as {"question": "…"}', argument)
        with ErrorsAt(argument):
            text = codec.encode(row)
            if refs.INTERNAL_SCHEME in text:
                refs.collect(row)
        canonical = codec.canonical(row)
        content = cls(digests.text_digest(canonical), row, text, len(canonical))
        is_maybe_large = len(text) * _MAX_GROWTH > MAX_ROW_BYTES
        if is_maybe_large and (size := len(bson.encode(content.document("")))) > MAX_ROW_BYTES:
            raise PayloadTooLargeError(
                f"takes {size:,} bytes as stored (text and a copy for queries); the limit is {MAX_ROW_BYTES:,}. "
                "Keep large content elsewhere and send a reference to it",
                argument,
            )
        return content

    def document(self, project_id: str) -> Document:
        """Build the document of the row."""
        return {
            "_id": content_store.key(project_id, self.digest),
            "project_id": project_id,
            "digest": self.digest,
            "json": {"val": self.text},
            "val": to_bson(self.value),
            "size_bytes": self.size_bytes,
        }


async def sizes_of(
    database: Database, project_id: str, row_digests: Iterable[str], session: Session | None = None
) -> dict[str, int]:
    """Return the JSON sizes of stored rows in bytes, by digest."""
    projection = {"_id": 0, "digest": 1, "size_bytes": 1}
    documents = content_store.find_each(database.table_rows, project_id, row_digests, projection, session=session)
    return {row["digest"]: row["size_bytes"] async for row in documents}


def total_size(changes: Iterable[tuple[str, int]], sizes: Mapping[str, int], start: int = 0) -> int | None:
    """Add the sizes of rows, by digest and factor, to `start`; None if a size is unknown."""
    try:
        return start + sum(factor * sizes[digest] for digest, factor in changes)
    except KeyError:
        return None


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Filter of rows by digest; an empty list or None matches every row."""

    row_digests: list[str] | None = None

    def members(self) -> frozenset[str] | None:
        """Return the digests to match; None for all.

        Raises:
            BadInputError: there are more than `MAX_ROW_DIGESTS`.
        """
        if not self.row_digests:
            return None
        check_count(len(self.row_digests), MAX_ROW_DIGESTS, "members", "filter.row_digests")
        return frozenset(self.row_digests)


def check_row_digest(digest: str, argument: str) -> None:
    """Check the format of a row digest. With another format two lists of rows could have the same table digest.

    Raises:
        BadInputError: the format is wrong.
    """
    if not _DIGEST.fullmatch(digest):
        raise BadInputError(
            f"{digest[:64]!r} is not the digest of a row, which has 43 letters and digits; tableCreate returns them",
            argument,
        )


def sort_within_rows(sort_by: Sequence[SortBy]) -> list[SortBy]:
    """Convert sort keys within rows to fields of `val`.

    Raises:
        BadInputError: a path is empty, or one of its steps is blank.
    """
    for position, key in enumerate(sort_by):
        try:
            steps = paths.split(key.field)
        except BadInputError:
            steps = []
        if not steps or not all(step.strip() for step in steps):
            raise BadInputError(
                f"{key.field[:100]!r} is not a path into rows; use one such as question or usage.total_tokens",
                f"sort_by.{position}.field",
            )
    return [SortBy(f"val.{key.field}", key.descending) for key in sort_by]


MIN_CHUNK_ROWS: Final = 250
MAX_CHUNK_ROWS: Final = 2_000
_END_EVERY: Final = 750
"""One digest in this many ends a chunk with enough rows; chunks have about 900 rows."""

_MAX_RANGE: Final = 4 * MAX_CHUNK_ROWS


def _ends(row_digests: Sequence[str]) -> bool:
    """Return True if a chunk of these rows ends here whatever follows."""
    size = len(row_digests)
    return size >= MIN_CHUNK_ROWS and (size >= MAX_CHUNK_ROWS or zlib.crc32(row_digests[-1].encode()) % _END_EVERY == 0)


@dataclass(frozen=True, slots=True)
class ChunkContent:
    """A chunk to store."""

    digest: str
    row_digests: list[str]

    @classmethod
    def of(cls, row_digests: list[str]) -> Self:
        """Build the chunk of some rows."""
        return cls(digests.text_digest("".join(row_digests)), row_digests)

    @property
    def size_bytes(self) -> int:
        """Size of its digests."""
        return sum(map(len, self.row_digests))

    def document(self, project_id: str) -> Document:
        """Build the document of the chunk."""
        return {
            "_id": content_store.key(project_id, self.digest),
            "project_id": project_id,
            "digest": self.digest,
            "row_digests": self.row_digests,
        }


async def read_chunks(database: Database, project_id: str, chunk_digests: Sequence[str]) -> dict[str, list[str]]:
    """Read chunks: their row digests, by chunk digest."""
    documents = content_store.find_each(
        database.table_chunks, project_id, chunk_digests, {"_id": 0, "digest": 1, "row_digests": 1}
    )
    return {chunk["digest"]: chunk["row_digests"] async for chunk in documents}


@dataclass(frozen=True, slots=True)
class Layout:
    """A stored table. `storage_size_bytes` is the size of its rows' JSON; None if rows were missing at creation."""

    project_id: str
    digest: str
    count: int
    chunks: Sequence[str]
    starts: Sequence[int]
    storage_size_bytes: int | None = None

    async def write(self, tables: Collection, session: Session, storage_size_bytes: int | None) -> None:
        """Insert the table unless it exists."""
        # An existing table is updated too, so that the command waits for a majority.
        document: Document = {name: getattr(self, name) for name in self.__slots__ if name != "storage_size_bytes"}
        # Rows that were missing when the table was created may exist now.
        known = {} if storage_size_bytes is None else {"$set": {"storage_size_bytes": storage_size_bytes}}
        match = table_match(self.project_id, self.digest)
        await tables.update_one(match, {"$setOnInsert": document} | known, upsert=True, session=session)

    def counts(self) -> list[int]:
        """Return the number of rows of each chunk."""
        return [end - start for start, end in zip(self.starts, [*self.starts, self.count][1:], strict=True)]

    def chunks_between(self, low: int, high: int) -> range:
        """Return the numbers of the chunks with the positions from `low` up to, not including, `high`."""
        return range(bisect_right(self.starts, low) - 1, bisect_left(self.starts, high)) if low < high else range(0)


async def read_layouts(database: Database, project_id: str, digests: Iterable[str]) -> dict[str, Layout]:
    """Read the tables that exist, by digest."""
    documents = content_store.find_each(database.tables, project_id, digests, {"_id": 0})
    return {row["digest"]: Layout(**row) async for row in documents}


def table_match(project_id: str, digest: str) -> Document:
    """Build the filter of a table."""
    return {"_id": content_store.key(project_id, digest), "project_id": project_id}


@dataclass(slots=True)
class Builder:
    """Builds a table from row digests added in order; `new` has the chunks that were cut."""

    project_id: str
    new: dict[str, ChunkContent] = field(default_factory=dict)
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _chunks: list[str] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _count: int = 0
    _pending: list[str] = field(default_factory=list)

    def add(self, row_digests: list[str], chunk: str | None = None) -> None:
        """Add row digests; `chunk` is their digest if they are exactly one chunk."""
        self._digest.update("".join(row_digests).encode())
        if chunk and not self._pending:
            self._append_chunk(chunk, len(row_digests))
            return
        for digest in row_digests:
            self._pending.append(digest)
            if _ends(self._pending):
                self._cut()

    def finish(self) -> Layout:
        """Return the table of all rows added."""
        if self._pending:
            self._cut()
        digest = self._digest.hexdigest()  # equals digests.table_digest
        return Layout(self.project_id, digest, self._count, self._chunks, self._starts)

    def _cut(self) -> None:
        chunk, self._pending = ChunkContent.of(self._pending), []
        self.new[chunk.digest] = chunk
        self._append_chunk(chunk.digest, len(chunk.row_digests))

    def _append_chunk(self, chunk: str, count: int) -> None:
        self._chunks.append(chunk)
        self._starts.append(self._count)
        self._count += count


@dataclass(frozen=True, slots=True)
class Append:
    """Append a row."""

    row: object


@dataclass(frozen=True, slots=True)
class Insert:
    """Insert a row before an index; an index equal to the length appends."""

    index: int
    row: object


@dataclass(frozen=True, slots=True)
class Pop:
    """Remove the row at an index."""

    index: int


TableUpdate = Append | Insert | Pop


@dataclass(slots=True)
class _Range:
    """A range of rows: a stored chunk (its digests may be unread), or changed digests without a chunk."""

    count: int
    chunk: str | None = None
    row_digests: list[str] | None = None


@dataclass(slots=True)
class Edit:
    """Edits a table: collects the new rows, and the digest of the row that each update adds or removes."""

    database: Database
    base: Layout
    added: dict[str, RowContent] = field(default_factory=dict)
    changes: list[tuple[str, int]] = field(default_factory=list)
    """For each update, the digest of its row, and 1 if it adds the row or -1 if it removes it."""
    _ranges: list[_Range] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        """Start with the chunks of the base table."""
        self._count = self.base.count
        pairs = zip(self.base.counts(), self.base.chunks, strict=True)
        self._ranges = [_Range(count, chunk) for count, chunk in pairs] or [_Range(0, None, [])]

    async def apply(self, updates: Sequence[TableUpdate]) -> None:
        """Apply the updates in order.

        Raises:
            BadInputError: an update is invalid; the argument is `updates.<position>`.
            PayloadTooLargeError: a row is too large.
        """
        async for position, update in cooperative(enumerate(updates)):
            match update:
                case Append(row):
                    await self._put(self._count, row, f"updates.{position}.append")
                case Insert(index, row):
                    self._check(index, self._count, f"updates.{position}.insert")
                    await self._put(index, row, f"updates.{position}.insert")
                case Pop(index):
                    self._check(index, self._count - 1, f"updates.{position}.pop")
                    row_digests, at = await self._editable(index, grows_by=-1)
                    self.changes.append((row_digests.pop(at), -1))

    async def build(self) -> Builder:
        """Build the new table; every chunk is read, because the table's digest covers all row digests."""
        builder = Builder(self.base.project_id)
        time_slice = TimeSlice()
        for batch in content_store.batches(self._ranges, 16):
            unread = [stretch.chunk for stretch in batch if stretch.chunk and stretch.row_digests is None]
            chunks_read = await read_chunks(self.database, self.base.project_id, unread)
            for stretch in batch:
                row_digests = chunks_read[stretch.chunk or ""] if stretch.row_digests is None else stretch.row_digests
                builder.add(row_digests, stretch.chunk)
                if time_slice.is_used_up():
                    await time_slice.yield_to_loop()
        return builder

    def _check(self, index: int, last: int, argument: str) -> None:
        if not 0 <= index <= last:
            allowed = f"the index must be 0 to {last}" if last >= 0 else "so there is no row to remove"
            raise BadInputError(
                f"{index} is out of range; the table then has {self._count:,} rows, {allowed}", f"{argument}.index"
            )

    async def _put(self, index: int, row: object, argument: str) -> None:
        added = RowContent.of(row, f"{argument}.row")
        digest = self.added.setdefault(added.digest, added).digest
        row_digests, at = await self._editable(index)
        row_digests.insert(at, digest)
        self.changes.append((digest, 1))

    async def _editable(self, index: int, grows_by: int = 1) -> tuple[list[str], int]:
        """Return the editable digests around an index, and the index within them; at the end these are the last."""
        number, at = self._locate(index)
        stretch = self._ranges[number]
        if stretch.row_digests is None and stretch.chunk:
            chunks_read = await read_chunks(self.database, self.base.project_id, [stretch.chunk])
            stretch.row_digests = chunks_read[stretch.chunk]
        row_digests = stretch.row_digests or []
        if len(row_digests) >= _MAX_RANGE:
            # Split long ranges, because each change of a range costs time in proportion to its length.
            half = len(row_digests) // 2
            halves = row_digests[:half], row_digests[half:]
            self._ranges[number : number + 1] = [_Range(len(part), None, part) for part in halves]
            return await self._editable(index, grows_by)
        stretch.chunk, stretch.row_digests = None, row_digests
        stretch.count += grows_by
        self._count += grows_by
        return row_digests, at

    def _locate(self, index: int) -> tuple[int, int]:
        if index >= self._count - self._ranges[-1].count:
            return len(self._ranges) - 1, index - (self._count - self._ranges[-1].count)
        for number, stretch in enumerate(self._ranges):
            if index < stretch.count:
                return number, index
            index -= stretch.count
        raise IndexError(index)
