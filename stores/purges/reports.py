"""Reports on purges."""

from dataclasses import dataclass, fields
from typing import Self

from stores.database import Document


@dataclass(frozen=True, slots=True)
class Removed:
    """Number of deleted items per concept; calls, feedback and object versions include those deleted before."""

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

    `ended_at` is None while it is running. `waits_until` is the end of its wait for processes that may not have seen
    it; None if it does not wait.
    """

    project_id: str
    started_at: int
    ended_at: int | None
    removed: Removed
    waits_until: int | None = None

    @property
    def is_done(self) -> bool:
        """True if everything is deleted."""
        return self.ended_at is not None

    @classmethod
    def from_document(cls, purge: Document) -> Self:
        """Create the report from a purge's document."""
        removed = Removed(*(int(purge.get(name, 0)) for name in REMOVED))
        return cls(purge["_id"], purge["started_at"], purge.get("ended_at"), removed, purge.get("waits_until"))
