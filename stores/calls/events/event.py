"""Events: changes of calls, with their positions in the change stream."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from stores.calls.events.cursors import Cursors
from stores.calls.events.resume_tokens import moment_of, token_at
from stores.paging import Row
from stores.query.evaluator import LARGE_JSON_BYTES

_Made = TypeVar("_Made")

_OVERHEAD: Final = 4096
"""Estimated bytes of an event in memory besides its JSON text."""


@dataclass(slots=True)
class CallEvent:
    """A change of one call (`started`, `ended`, `updated` or `deleted`) with the call's state when it was read.

    `token` orders the events of all projects lexically. One event serves many subscribers; `cache` keeps what is
    computed from it for all of them.
    """

    type: str
    call: Row
    place: str
    cursors: Cursors = field(repr=False, compare=False)
    made: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)
    grown: Callable[[int], None] | None = field(default=None, repr=False, compare=False)
    """Callback with the number of bytes by which the event grows while the log keeps it."""
    _made_bytes: int = field(default=0, repr=False, compare=False)
    _cursor: str = field(default="", repr=False, compare=False)

    @property
    def cursor(self) -> str:
        """The opaque cursor after this event in its project, the same for all subscribers."""
        self._cursor = self._cursor or self.cursors.cursor_of(self.call["project_id"], self.place)
        return self._cursor

    @property
    def cursor_before(self) -> str | None:
        """The cursor before all events of this event's timestamp; None if the token's format is unknown."""
        moment = moment_of(self.place)
        return self.cursors.cursor_of(self.call["project_id"], token_at(moment)) if moment else None

    @property
    def size(self) -> int:
        """Estimated bytes of memory, including cached values."""
        return self.json_bytes + _OVERHEAD + self._made_bytes

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
        self._made_bytes += size
        if self.grown:
            self.grown(size)

    async def once(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, _Made]]) -> _Made:
        """Return the cached result of `make`; concurrent callers share one run, and failures are not cached."""

        def keep(task: asyncio.Task[_Made]) -> None:
            if task.cancelled() or task.exception():
                del self.made[key]

        if key not in self.made:
            self.made[key] = asyncio.create_task(make())
            self.made[key].add_done_callback(keep)
        made: _Made = await asyncio.shield(self.made[key])
        return made

    def with_call(self, call: Row) -> "CallEvent":
        """Copy the event with another call row; its cached values count towards this event."""
        return CallEvent(self.type, call, self.place, self.cursors, grown=self.grow)
