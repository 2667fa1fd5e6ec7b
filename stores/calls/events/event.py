"""Events: what happened to a call, and where among all that happens."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from stores.calls.events.cursors import Cursors
from stores.calls.events.resume_tokens import moment_of, token_at
from stores.paging import Row
from stores.query.evaluator import LARGE

_Made = TypeVar("_Made")

_OVERHEAD: Final = 4096
"""About what an event takes beside its JSON text, in bytes."""


@dataclass(slots=True)
class CallEvent:
    """One change of one call: `started`, `ended`, `updated` or `deleted`, and the call as it is by then.

    `place` orders the events of all projects as texts are ordered. One event is told to many: what is made of it for
    all of them may be kept in `made`, as long as the event is.
    """

    type: str
    call: Row
    place: str
    cursors: Cursors = field(repr=False, compare=False)
    made: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)
    grown: Callable[[int], None] | None = field(default=None, repr=False, compare=False)
    """What is told of the bytes that it grows by, while somebody keeps it."""
    _made_bytes: int = field(default=0, repr=False, compare=False)
    _cursor: str = field(default="", repr=False, compare=False)

    @property
    def cursor(self) -> str:
        """The opaque text that marks the place after this event, in its project: one for all whom it is told."""
        self._cursor = self._cursor or self.cursors.cursor_of(self.call["project_id"], self.place)
        return self._cursor

    @property
    def cursor_before(self) -> str | None:
        """That of a place before this event, and before no other one of its moment; None if it cannot be told."""
        moment = moment_of(self.place)
        return self.cursors.cursor_of(self.call["project_id"], token_at(moment)) if moment else None

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes, with what was made of it."""
        return self.json_bytes + _OVERHEAD + self._made_bytes

    @property
    def json_bytes(self) -> int:
        """How many of these are its JSON text."""
        size: int = self.call.get("storage_size_bytes", 0)
        return size

    @property
    def is_large(self) -> bool:
        """Whether what its JSON says is to be asked for in a thread."""
        return self.json_bytes > LARGE

    def grow(self, size: int) -> None:
        """Count so many bytes in that were made of it."""
        self._made_bytes += size
        if self.grown:
            self.grown(size)

    async def once(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, _Made]]) -> _Made:
        """What the first who asks for it makes, for all; who comes after a failure does not find that."""

        def keep(task: asyncio.Task[_Made]) -> None:
            if task.cancelled() or task.exception():
                del self.made[key]

        if key not in self.made:
            self.made[key] = asyncio.create_task(make())
            self.made[key].add_done_callback(keep)
        made: _Made = await asyncio.shield(self.made[key])
        return made

    def with_call(self, call: Row) -> "CallEvent":
        """The same event with more about its call; what is made of that counts as made of this one."""
        return CallEvent(self.type, call, self.place, self.cursors, grown=self.grow)
