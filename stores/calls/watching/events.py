"""Events: what happened to a call, and where among all that happens."""

from dataclasses import dataclass, field
from typing import Any, Final

from stores.calls.watching.cursors import cursor_of
from stores.paging import Row

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
    made: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def cursor(self) -> str:
        """The opaque text that marks the place after this event, in its project."""
        return cursor_of(self.call["project_id"], self.place)

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes, without what is made of it."""
        size: int = self.call.get("storage_size_bytes", 0)
        return size + _OVERHEAD
