"""What uploads of files and of tables have in common: a document each, by which one is seen to be under way.

Its `touched_at` is renewed while parts come, and `doomed` is set once the upload is taken back.
"""

from typing import Any, Final

LEASE_SECONDS: Final = 300
"""An upload of which nothing came for so long is given up."""

ALIVE: Final = {"doomed": {"$exists": False}}
"""The match of uploads that nobody takes back."""


def is_abandoned(silent_seconds: float) -> dict[str, Any]:
    """The match of uploads of which nothing came for so long, and of those that are being taken back."""
    silent_since = {"$subtract": ["$$NOW", int(silent_seconds * 1000)]}
    return {"$or": [{"doomed": True}, {"$expr": {"$lte": ["$touched_at", silent_since]}}]}
