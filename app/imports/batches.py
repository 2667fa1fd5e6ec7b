"""Batches of lines: stored together, and one by one if one of them is rejected."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.imports.lines import Item, Line, Spans
from graphql_schema.context import Stores
from stores.calls.store import RestoredCall
from stores.errors import ConflictError, StoreError, StoreTimeoutError, UnavailableError
from stores.feedback import NewFeedback
from stores.objects.store import RestoredVersion
from stores.otel import Projects

_MAX_LINES: Final = 500
_MAX_BYTES: Final = 8 * 1024 * 1024

Reject = Callable[[Line, StoreError | str], object]
"""Called with a line, and the reason why it was rejected."""

_Write = Callable[[Sequence[Any]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Target:
    """The target project of an import, None for that of each row; spans without one go to `otlp_entity`."""

    stores: Stores
    project_id: str | None
    otlp_entity: str


class Batches:
    """The lines to store next, of each kind."""

    def __init__(self, target: Target, reject: Reject) -> None:
        self._target = target
        self._reject = reject
        stores = target.stores
        self._writes: dict[str, tuple[type, _Write]] = {
            "objects": (RestoredVersion, stores.objects.restore),
            "calls": (RestoredCall, stores.calls.restore),
            "feedback": (NewFeedback, stores.feedback.restore),
        }
        self._lines: list[tuple[Line, Item]] = []
        self._count = self._bytes = 0

    @property
    def is_full(self) -> bool:
        """True if the batches should be stored."""
        return self._count >= _MAX_LINES or self._bytes >= _MAX_BYTES

    async def add(self, line: Line, item: Item) -> dict[str, int]:
        """Add a line; return counts of what was stored immediately, by kind."""
        self._count += 1
        self._bytes += len(line.content)
        if isinstance(item, Spans):
            return await self._store_spans(line, item)
        self._lines.append((line, item))
        return {}

    async def store(self) -> dict[str, int]:
        """Store the batches and return the number of stored rows by kind.

        Raises:
            UnavailableError, StoreTimeoutError: MongoDB is unreachable or too slow; some rows may be stored.
            ConflictError: concurrent writes conflicted repeatedly; some rows may be stored.
        """
        lines, self._lines, self._count, self._bytes = self._lines, [], 0, 0
        return {
            name: await self._store(write, [each for each in lines if isinstance(each[1], kind)])
            for name, (kind, write) in self._writes.items()
        }

    async def _store(self, write: _Write, lines: list[tuple[Line, Item]]) -> int:
        """Store lines together, or one by one if one of them is rejected; return the number of stored lines."""
        if not lines:
            return 0
        try:
            await write([item for _, item in lines])
        except StoreError as error:
            if _is_temporary(error):
                raise
            if len(lines) > 1:
                return sum([await self._store(write, [each]) for each in lines])
            self._reject(lines[0][0], error.relative_to("batch.0"))
            return 0
        return len(lines)

    async def _store_spans(self, line: Line, spans: Spans) -> dict[str, int]:
        target = self._target
        try:
            projects = Projects(target.project_id, fixed=target.project_id is not None, entity=target.otlp_entity)
            exported = await target.stores.otel.export_json(spans.request, projects)
        except StoreError as error:
            if _is_temporary(error):
                raise
            self._reject(line, error)
            return {}
        if exported.rejected_spans:
            reason = f"{exported.rejected_spans:,} of its spans were rejected: {exported.error_message}"
            self._reject(line, reason)
        return {"requests of spans": 1}


def _is_temporary(error: StoreError) -> bool:
    """Return True if a failure is not caused by the line, which may be stored later."""
    # A permanent conflict names its argument.
    return isinstance(error, UnavailableError | StoreTimeoutError) or (
        isinstance(error, ConflictError) and error.argument is None
    )
