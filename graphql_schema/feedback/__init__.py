"""GraphQL types and root fields of feedback."""

from graphql_schema.feedback.mutations import FeedbackMutations
from graphql_schema.feedback.queries import FeedbackQueries

__all__ = ["FeedbackMutations", "FeedbackQueries"]
