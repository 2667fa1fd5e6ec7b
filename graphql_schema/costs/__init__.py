"""GraphQL types and root fields of prices and costs."""

from graphql_schema.costs.mutations import CostMutations
from graphql_schema.costs.queries import CostQueries

__all__ = ["CostMutations", "CostQueries"]
