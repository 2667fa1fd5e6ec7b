"""Imports: files of rows and of spans, stored line by line, from where an earlier run was cut off."""
