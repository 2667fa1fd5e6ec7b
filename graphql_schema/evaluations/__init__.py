"""Evaluations in the API."""

from graphql_schema.evaluations.queries import EvaluationQueries

__all__ = ["EvaluationQueries"]
