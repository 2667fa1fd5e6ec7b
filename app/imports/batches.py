"""Batches of lines: stored together, and one by one if one of them is rejected."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from app.imports.lines import Item, Spans
from graphql_schema.context import Stores
from stores.calls.writes import RestoredCall
from stores.errors import ConflictError, StoreError, StoreTimeoutError, UnavailableError
from stores.feedback import NewFeedback
from stores.objects.writes import RestoredVersion
from stores.otel import Projects

_MAX_LINES: Final = 500
_MAX_BYTES: Final = 8 * 1024 * 1024

_Item = TypeVar("_Item")

Reject = Callable[[int, bytes, StoreError | str], object]
"""Called with a line's number, its content, and the reason why it was rejected."""


class _Batch(Generic[_Item]):
    """The batch of one kind of rows, with the function that stores it."""

    def __init__(self, write: Callable[[Sequence[_Item]], Awaitable[object]]) -> None:
        self._write = write
        self._lines: list[tuple[int, bytes, _Item]] = []

    def add(self, number: int, content: bytes, item: _Item) -> None:
        self._lines.append((number, content, item))

    async def store(self, reject: Reject) -> int:
        """Store the batch and return the number of stored rows."""
        lines, self._lines = self._lines, []
        if not lines:
            return 0
        try:
            await self._write([item for _, _, item in lines])
        except StoreError as error:
            if _is_temporary(error):
                raise
            return await self._store_one_by_one(lines, reject)
        return len(lines)

    async def _store_one_by_one(self, lines: list[tuple[int, bytes, _Item]], reject: Reject) -> int:
        stored = 0
        for number, content, item in lines:
            try:
                await self._write([item])
            except StoreError as error:
                if _is_temporary(error):
                    raise
                reject(number, content, error.relative_to("batch.0"))
            else:
                stored += 1
        return stored


@dataclass(frozen=True, slots=True)
class Target:
    """The target project of an import, None for that of each row; spans without one go to `otlp_entity`."""

    stores: Stores
    project_id: str | None
    otlp_entity: str


class Batches:
    """The current batch of each kind."""

    def __init__(self, target: Target, reject: Reject) -> None:
        self._target = target
        self._reject = reject
        stores = target.stores
        self._calls = _Batch(stores.calls.restore)
        self._objects = _Batch(stores.objects.restore)
        self._feedback = _Batch(stores.feedback.restore)
        self._count = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """True if the batches should be stored."""
        return self._count >= _MAX_LINES or self._bytes >= _MAX_BYTES

    async def add(self, number: int, content: bytes, item: Item) -> dict[str, int]:
        """Add a line; return counts of what was stored immediately, by kind."""
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
        """Store the batches and return the number of stored rows by kind.

        Raises:
            UnavailableError, StoreTimeoutError: MongoDB is unreachable or too slow; some rows may be stored.
            ConflictError: concurrent writes conflicted repeatedly; some rows may be stored.
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
            projects = Projects(target.project_id, fixed=target.project_id is not None, entity=target.otlp_entity)
            exported = await target.stores.otel.export_json(spans.request, projects)
        except StoreError as error:
            if _is_temporary(error):
                raise
            self._reject(number, content, error)
            return {}
        if exported.rejected_spans:
            reason = f"{exported.rejected_spans:,} of its spans were rejected: {exported.error_message}"
            self._reject(number, content, reason)
        return {"requests of spans": 1}


def _is_temporary(error: StoreError) -> bool:
    """Return True if a failure is not caused by the line, which may be stored later."""
    # A permanent conflict names its argument.
    return isinstance(error, UnavailableError | StoreTimeoutError) or (
        isinstance(error, ConflictError) and error.argument is None
    )
