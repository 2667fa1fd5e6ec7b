"""Tables: lists of JSON objects, identified by their content; rows and chunks are shared between tables."""

from stores.tables.layout import Append, Insert, Pop, TableUpdate
from stores.tables.rows import RowFilter
from stores.tables.store import TablesStore

__all__ = ["Append", "Insert", "Pop", "RowFilter", "TableUpdate", "TablesStore"]
