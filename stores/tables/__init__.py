"""Tables: lists of JSON objects, identified by their content; rows and chunks are shared between tables."""

from stores.tables.documents import Append, Insert, Pop, RowFilter, TableUpdate
from stores.tables.store import TablesStore

__all__ = ["Append", "Insert", "Pop", "RowFilter", "TableUpdate", "TablesStore"]
