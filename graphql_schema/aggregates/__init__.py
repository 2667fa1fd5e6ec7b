"""Roll-ups of calls in the API."""

from graphql_schema.aggregates.queries import AggregateQueries

__all__ = ["AggregateQueries"]
