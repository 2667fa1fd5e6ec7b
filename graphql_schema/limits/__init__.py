"""What one GraphQL document may ask for: depth, aliases, tokens and cost are bounded before anything runs."""

from graphql_schema.limits.bounds import TOO_COMPLEX, Limits
from graphql_schema.limits.nesting import measure, rule
from graphql_schema.limits.secrecy import NoIntrospection

__all__ = ["TOO_COMPLEX", "Limits", "NoIntrospection", "measure", "rule"]
