"""Exports: which lists leave as a whole, in which form, and how they are read."""
