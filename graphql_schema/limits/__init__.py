"""Limits of a GraphQL document, checked before execution: depth, aliases, tokens and cost."""

from graphql_schema.limits.bounds import TOO_COMPLEX, Limits
from graphql_schema.limits.depth import measure, rule
from graphql_schema.limits.document_length import check_length, check_lengths
from graphql_schema.limits.introspection import NoIntrospection

__all__ = ["TOO_COMPLEX", "Limits", "NoIntrospection", "check_length", "check_lengths", "measure", "rule"]
