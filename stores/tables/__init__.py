"""Tables: lists of JSON objects, named after their content; what tables have in common is stored once."""

from stores.tables.inputs import Append, Insert, Pop, RowFilter, TableUpdate
from stores.tables.store import TablesStore

__all__ = ["Append", "Insert", "Pop", "RowFilter", "TableUpdate", "TablesStore"]
