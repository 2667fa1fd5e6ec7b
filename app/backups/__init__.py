"""Backups: a whole database at one moment, in one file, and back into an empty one."""
