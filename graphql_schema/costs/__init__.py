"""Costs in the API."""

from graphql_schema.costs.mutations import CostMutations
from graphql_schema.costs.queries import CostQueries

__all__ = ["CostMutations", "CostQueries"]
