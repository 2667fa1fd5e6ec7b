"""GraphQL types and root fields of aggregates over calls."""

from graphql_schema.aggregates.queries import AggregateQueries

__all__ = ["AggregateQueries"]
