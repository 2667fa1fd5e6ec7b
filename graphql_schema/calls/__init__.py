"""GraphQL types and root fields of calls."""

from graphql_schema.calls.mutations import CallMutations, OtelMutations
from graphql_schema.calls.queries import CallQueries, CallSubscriptions

__all__ = ["CallMutations", "CallQueries", "CallSubscriptions", "OtelMutations"]
