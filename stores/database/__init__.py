"""The MongoDB driver: connections, cursors, sessions, transactions, indexes, leases, error translation."""

from stores.database.collections import Collection, Document
from stores.database.connection import Database, database_query, database_write, in_scan_slot, long_database_write

__all__ = [
    "Collection",
    "Database",
    "Document",
    "database_query",
    "database_write",
    "in_scan_slot",
    "long_database_write",
]
