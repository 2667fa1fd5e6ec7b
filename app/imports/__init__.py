"""Imports of files with rows or spans, line by line; an interrupted import can be resumed."""
