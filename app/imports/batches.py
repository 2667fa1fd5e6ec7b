"""Lines gathered to be stored together: a batch at a time, and one by one where one of them is refused."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from app.imports.row_types import Item, Spans
from graphql_schema.context import Stores
from stores.calls.restore import RestoredCall
from stores.errors import ConflictError, StoreError, StoreTimeoutError, UnavailableError
from stores.feedback import NewFeedback
from stores.objects.restore import RestoredVersion

_MOST_LINES: Final = 500
_MOST_BYTES: Final = 8 * 1024 * 1024

_Item = TypeVar("_Item")

Reject = Callable[[int, bytes, StoreError | str], object]
"""What takes a line's number, its content, and why it is not stored."""


class _Kind(Generic[_Item]):
    """The lines of one kind, and what stores them."""

    def __init__(self, write: Callable[[Sequence[_Item]], Awaitable[object]]) -> None:
        self._write = write
        self._lines: list[tuple[int, bytes, _Item]] = []

    def add(self, number: int, content: bytes, item: _Item) -> None:
        self._lines.append((number, content, item))

    async def store(self, reject: Reject) -> int:
        """Store them; how many are."""
        lines, self._lines = self._lines, []
        if not lines:
            return 0
        try:
            await self._write([item for _, _, item in lines])
        except StoreError as error:
            if _passes(error):
                raise
            return await self._store_one_by_one(lines, reject)
        return len(lines)

    async def _store_one_by_one(self, lines: list[tuple[int, bytes, _Item]], reject: Reject) -> int:
        stored = 0
        for number, content, item in lines:
            try:
                await self._write([item])
            except StoreError as error:
                if _passes(error):
                    raise
                reject(number, content, error.relative_to("batch.0"))
            else:
                stored += 1
        return stored


@dataclass(frozen=True, slots=True)
class Target:
    """Where lines go: into a project, or each into its own; spans that name none into one of an entity."""

    stores: Stores
    project_id: str | None
    otlp_entity: str


class Batches:
    """What is gathered of each kind."""

    def __init__(self, target: Target, reject: Reject) -> None:
        self._target = target
        self._reject = reject
        stores = target.stores
        self._calls = _Kind(stores.calls.restore)
        self._objects = _Kind(stores.objects.restore)
        self._feedback = _Kind(stores.feedback.restore)
        self._count = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to store what is gathered."""
        return self._count >= _MOST_LINES or self._bytes >= _MOST_BYTES

    async def add(self, number: int, content: bytes, item: Item) -> dict[str, int]:
        """Gather a line; what it made by itself, by kind."""
        self._count += 1
        self._bytes += len(content)
        match item:
            case RestoredCall():
                self._calls.add(number, content, item)
            case RestoredVersion():
                self._objects.add(number, content, item)
            case NewFeedback():
                self._feedback.add(number, content, item)
            case Spans():
                return await self._store_spans(number, content, item)
        return {}

    async def store(self) -> dict[str, int]:
        """Store what is gathered; how many of each kind are stored.

        Raises:
            UnavailableError, StoreTimeoutError: the database is away, or too slow; some of it may be stored.
            ConflictError: others wrote the same again and again; likewise.
        """
        self._count = self._bytes = 0
        return {
            "objects": await self._objects.store(self._reject),
            "calls": await self._calls.store(self._reject),
            "feedback": await self._feedback.store(self._reject),
        }

    async def _store_spans(self, number: int, content: bytes, spans: Spans) -> dict[str, int]:
        target = self._target
        try:
            exported = await target.stores.otel.export_json(
                spans.request, target.project_id, entity=target.otlp_entity, fixed=target.project_id is not None
            )
        except StoreError as error:
            if _passes(error):
                raise
            self._reject(number, content, error)
            return {}
        if exported.rejected_spans:
            reason = f"{exported.rejected_spans:,} of its spans are not stored: {exported.error_message}"
            self._reject(number, content, reason)
        return {"requests of spans": 1}


def _passes(error: StoreError) -> bool:
    """Whether a failure is none of the line's: the same may be stored another time."""
    # A conflict that lasts names what it is about.
    return isinstance(error, UnavailableError | StoreTimeoutError) or (
        isinstance(error, ConflictError) and error.argument is None
    )
