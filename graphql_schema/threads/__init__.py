"""GraphQL types and root field of threads."""

from graphql_schema.threads.queries import ThreadQueries

__all__ = ["ThreadQueries"]
