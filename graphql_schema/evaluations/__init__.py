"""GraphQL types and root fields of evaluations."""

from graphql_schema.evaluations.mutations import EvaluationMutations
from graphql_schema.evaluations.queries import EvaluationQueries, EvaluationSubscriptions

__all__ = ["EvaluationMutations", "EvaluationQueries", "EvaluationSubscriptions"]
