"""Purges: deletion of whole projects with all their data."""

from stores.purges.store import PurgeReport, PurgesStore, Removed

__all__ = ["PurgeReport", "PurgesStore", "Removed"]
