"""Changes to a table: another table, made of the chunks that stay as they are and of those that change."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from stores.concurrency.time_slices import TimeSlice, cooperative
from stores.database import Collection, content_store
from stores.errors import BadInputError
from stores.tables.chunks import MAX_ROWS, read_chunks
from stores.tables.inputs import Append, Insert, Pop, TableUpdate
from stores.tables.layout import Builder, Layout
from stores.tables.rows import RowContent

_READ_AT_ONCE: Final = 16
_TOO_LONG: Final = 4 * MAX_ROWS


@dataclass(slots=True)
class _Stretch:
    """Some rows of the table: a stored chunk, and its digests if they are read; without a chunk they are changed."""

    count: int
    chunk: str | None = None
    row_digests: list[str] | None = None


@dataclass(slots=True)
class Edit:
    """A table under change: the rows that came, the digests of those that went, and of each update its row's."""

    chunks: Collection
    base: Layout
    added: dict[str, RowContent] = field(default_factory=dict)
    came: list[str] = field(default_factory=list)
    went: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    _stretches: list[_Stretch] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        """Begin with the chunks of the table."""
        self._count = self.base.count
        pairs = zip(self.base.counts(), self.base.chunks, strict=True)
        self._stretches = [_Stretch(count, chunk) for count, chunk in pairs] or [_Stretch(0, None, [])]

    async def apply(self, updates: Sequence[TableUpdate]) -> None:
        """Apply the updates one after the other.

        Raises:
            BadInputError: one breaks a rule; the error names it as `updates.<position>`.
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
        """The table that came of it, whose chunks are read one after the other, since all digests make its own."""
        builder = Builder(self.base.project_id)
        turn = TimeSlice()
        for part in content_store.batches(self._stretches, _READ_AT_ONCE):
            waiting = [stretch.chunk for stretch in part if stretch.chunk and stretch.row_digests is None]
            found = await read_chunks(self.chunks, self.base.project_id, waiting)
            for stretch in part:
                row_digests = found[stretch.chunk or ""] if stretch.row_digests is None else stretch.row_digests
                builder.add(row_digests, stretch.chunk)
                if turn.is_used_up():
                    await turn.yield_to_loop()
        return builder

    def _check(self, index: int, last: int, argument: str) -> None:
        if not 0 <= index <= last:
            allowed = f"it can be 0 to {last}" if last >= 0 else "there is none to take out"
            raise BadInputError(
                f"{index} is out of range; the table has {self._count:,} rows then, {allowed}", f"{argument}.index"
            )

    async def _put(self, index: int, row: object, argument: str) -> None:
        added = RowContent.of(row, f"{argument}.row")
        digest = self.added.setdefault(added.digest, added).digest
        row_digests, at = await self._open(index)
        row_digests.insert(at, digest)
        self.came.append(digest)
        self.updated.append(digest)

    async def _pop(self, index: int) -> None:
        row_digests, at = await self._open(index, grows_by=-1)
        digest = row_digests.pop(at)
        self.went.append(digest)
        self.updated.append(digest)

    async def _open(self, index: int, grows_by: int = 1) -> tuple[list[str], int]:
        """The digests, to be changed, that an index falls among, and where; behind them all it falls to the last."""
        number, at = self._locate(index)
        stretch = self._stretches[number]
        if stretch.row_digests is None and stretch.chunk:
            stretch.row_digests = (await read_chunks(self.chunks, self.base.project_id, [stretch.chunk]))[stretch.chunk]
        row_digests = stretch.row_digests or []
        if len(row_digests) >= _TOO_LONG:
            # What grows to a great length would cost more with each row.
            half = len(row_digests) // 2
            halves = row_digests[:half], row_digests[half:]
            self._stretches[number : number + 1] = [_Stretch(len(part), None, part) for part in halves]
            return await self._open(index, grows_by)
        stretch.chunk, stretch.row_digests = None, row_digests
        stretch.count += grows_by
        self._count += grows_by
        return row_digests, at

    def _locate(self, index: int) -> tuple[int, int]:
        if index >= self._count - self._stretches[-1].count:
            return len(self._stretches) - 1, index - (self._count - self._stretches[-1].count)
        for number, stretch in enumerate(self._stretches):
            if index < stretch.count:
                return number, index
            index -= stretch.count
        raise IndexError(index)
