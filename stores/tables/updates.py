"""Updates of a table: a new table from the unchanged chunks and the changed ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from stores.concurrency.time_slices import TimeSlice, cooperative
from stores.database import Database, content_store
from stores.errors import BadInputError
from stores.tables.inputs import Append, Insert, Pop, TableUpdate
from stores.tables.layout import MAX_ROWS, Builder, Layout, read_chunks
from stores.tables.rows import RowContent

_READ_BATCH: Final = 16
_MAX_RANGE: Final = 4 * MAX_ROWS


@dataclass(slots=True)
class _Range:
    """A range of rows: a stored chunk (its digests may be unread), or changed digests without a chunk."""

    count: int
    chunk: str | None = None
    row_digests: list[str] | None = None


@dataclass(slots=True)
class Edit:
    """Edits a table: collects rows added and removed, and the digest that each update concerns."""

    database: Database
    base: Layout
    added: dict[str, RowContent] = field(default_factory=dict)
    came: list[str] = field(default_factory=list)
    went: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
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
                    await self._pop(index)

    async def build(self) -> Builder:
        """Build the new table; every chunk is read, because the table's digest covers all row digests."""
        builder = Builder(self.base.project_id)
        time_slice = TimeSlice()
        for batch in content_store.batches(self._ranges, _READ_BATCH):
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
        self.came.append(digest)
        self.updated.append(digest)

    async def _pop(self, index: int) -> None:
        row_digests, at = await self._editable(index, grows_by=-1)
        digest = row_digests.pop(at)
        self.went.append(digest)
        self.updated.append(digest)

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
