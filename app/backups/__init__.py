"""Backups: one file with a snapshot of the whole database, and its restoration into an empty one."""
