"""Threads in the API."""

from graphql_schema.threads.queries import ThreadQueries

__all__ = ["ThreadQueries"]
