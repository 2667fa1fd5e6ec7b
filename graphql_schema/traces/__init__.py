"""GraphQL types and root field of traces."""

from graphql_schema.traces.queries import TraceQueries

__all__ = ["TraceQueries"]
