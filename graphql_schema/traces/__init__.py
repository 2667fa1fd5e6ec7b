"""Traces in the API."""

from graphql_schema.traces.queries import TraceQueries

__all__ = ["TraceQueries"]
