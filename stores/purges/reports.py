"""What a purge has removed."""

from dataclasses import dataclass, fields
from typing import Self

from stores.database import Document


@dataclass(frozen=True, slots=True)
class Removed:
    """How much is gone of each concept: calls, feedback and versions of objects with those that were deleted before."""

    calls: int = 0
    feedback: int = 0
    objects: int = 0
    tables: int = 0
    table_rows: int = 0
    files: int = 0
    costs: int = 0


REMOVED = tuple(field.name for field in fields(Removed))


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """The last purge of a project; times are microseconds since the epoch.

    `ended_at` is None while it is under way. `waits_until` is when it ends its wait for processes that may not have
    noticed it, None if it does not wait.
    """

    project_id: str
    started_at: int
    ended_at: int | None
    removed: Removed
    waits_until: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left of what there was."""
        return self.ended_at is not None

    @classmethod
    def of(cls, purge: Document) -> Self:
        """The report in a purge's document."""
        removed = Removed(*(int(purge.get(name, 0)) for name in REMOVED))
        return cls(purge["_id"], purge["started_at"], purge.get("ended_at"), removed, purge.get("waits_until"))
