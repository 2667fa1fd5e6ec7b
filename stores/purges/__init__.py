"""Purges: deletion of whole projects with all their data."""

from stores.purges.reports import PurgeReport, Removed
from stores.purges.store import PurgesStore

__all__ = ["PurgeReport", "PurgesStore", "Removed"]
