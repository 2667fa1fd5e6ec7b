"""Purges: whole projects, removed with all that is in them."""

from stores.purges.reports import PurgeReport, Removed
from stores.purges.store import PurgesStore

__all__ = ["PurgeReport", "PurgesStore", "Removed"]
