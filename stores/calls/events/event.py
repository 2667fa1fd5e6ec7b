"""Events: changes of calls, with their positions in the change stream."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from stores.calls.events.cursors import Cursors, timestamp_of, token_at
from stores.paging import Row
from stores.query.evaluator import LARGE_JSON_BYTES

_Result = TypeVar("_Result")

_OVERHEAD_BYTES: Final = 4096
"""Estimated bytes of an event in memory besides its JSON text."""


@dataclass(slots=True)
class CallEvent:
    """A change of one call (`started`, `ended`, `updated` or `deleted`) with the call's state when it was read.

    `token` orders the events of all projects lexically. One event serves many subscribers; `cache` keeps what is
    computed from it for all of them.
    """

    type: str
    call: Row
    token: str
    cursors: Cursors = field(repr=False, compare=False)
    cache: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)
    on_grow: Callable[[int], None] | None = field(default=None, repr=False, compare=False)
    """Callback with the number of bytes by which the event grows while the log keeps it."""
    _cache_bytes: int = field(default=0, repr=False, compare=False)
    _cursor: str = field(default="", repr=False, compare=False)

    @property
    def cursor(self) -> str:
        """The opaque cursor after this event in its project, the same for all subscribers."""
        self._cursor = self._cursor or self.cursors.encode(self.call["project_id"], self.token)
        return self._cursor

    @property
    def cursor_before(self) -> str | None:
        """The cursor before all events of this event's timestamp; None if the token's format is unknown."""
        timestamp = timestamp_of(self.token)
        return self.cursors.encode(self.call["project_id"], token_at(timestamp)) if timestamp else None

    @property
    def size(self) -> int:
        """Estimated bytes of memory, including cached values."""
        return self.json_bytes + _OVERHEAD_BYTES + self._cache_bytes

    @property
    def json_bytes(self) -> int:
        """Bytes of the call's JSON text."""
        size: int = self.call.get("storage_size_bytes", 0)
        return size

    @property
    def is_large(self) -> bool:
        """True if the JSON must be evaluated in a thread."""
        return self.json_bytes > LARGE_JSON_BYTES

    def grow(self, size: int) -> None:
        """Count bytes of newly cached values."""
        self._cache_bytes += size
        if self.on_grow:
            self.on_grow(size)

    async def cached(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
        """Return the cached result of `make`; concurrent callers share one run, and failures are not cached."""

        def drop_if_failed(task: asyncio.Task[_Result]) -> None:
            if task.cancelled() or task.exception():
                del self.cache[key]

        if key not in self.cache:
            self.cache[key] = asyncio.create_task(make())
            self.cache[key].add_done_callback(drop_if_failed)
        result: _Result = await asyncio.shield(self.cache[key])
        return result

    def with_call(self, call: Row) -> "CallEvent":
        """Copy the event with another call row; its cached values count towards this event."""
        return CallEvent(self.type, call, self.token, self.cursors, on_grow=self.grow)
