"""Upload documents, shared by files and tables: one document per upload in progress.

`touched_at` is renewed with each chunk; `doomed` marks an upload whose data is being deleted.
"""

from typing import Any, Final

LEASE_SECONDS: Final = 300
"""Time without a new chunk after which an upload counts as abandoned."""

ALIVE: Final = {"doomed": {"$exists": False}}
"""Match for uploads that are not being deleted."""


def is_abandoned(silent_seconds: float) -> dict[str, Any]:
    """Return the match for uploads without a chunk for `silent_seconds`, and for uploads being deleted."""
    silent_since = {"$subtract": ["$$NOW", int(silent_seconds * 1000)]}
    return {"$or": [{"doomed": True}, {"$expr": {"$lte": ["$touched_at", silent_since]}}]}
