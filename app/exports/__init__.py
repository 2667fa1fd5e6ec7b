"""Exports over HTTP: `GET /export/{concept}`, whole lists as NDJSON or Parquet, streamed in pages.

A list of more than a little is read and written by a process of its own, at a lower priority: whoever asks the server
for something else meanwhile does not wait for it, and what it takes of memory is given back. What that process imports
is kept small, so nothing is imported here.
"""
