"""Exports and imports of rows: the exported lists, their columns, paging, and the reader of imported rows."""
