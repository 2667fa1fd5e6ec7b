"""Exports over HTTP: `GET /export/{concept}` streams whole lists as NDJSON or Parquet.

A longer list is read and written by a separate process with lower priority. Other requests are not delayed, and its
memory is released afterwards. That process should import little, so this module imports nothing.
"""
