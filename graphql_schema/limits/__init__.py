"""Limits of a GraphQL operation, checked before execution: its document, its variables and its cost."""

from graphql_schema.limits.bounds import TOO_COMPLEX, Limits

__all__ = ["TOO_COMPLEX", "Limits"]
