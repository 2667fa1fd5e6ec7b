"""GraphQL types and root fields of completions by models."""

from graphql_schema.completions.mutations import CompletionMutations
from graphql_schema.completions.subscriptions import CompletionSubscriptions

__all__ = ["CompletionMutations", "CompletionSubscriptions"]
