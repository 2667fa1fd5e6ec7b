"""GraphQL types and root fields of calls."""

from graphql_schema.calls.mutations import CallMutations
from graphql_schema.calls.queries import CallQueries
from graphql_schema.calls.subscriptions import CallSubscriptions

__all__ = ["CallMutations", "CallQueries", "CallSubscriptions"]
