"""Calls in the API."""

from graphql_schema.calls.mutations import CallMutations
from graphql_schema.calls.queries import CallQueries

__all__ = ["CallMutations", "CallQueries"]
