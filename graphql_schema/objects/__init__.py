"""Objects and ops in the API."""

from graphql_schema.objects.mutations import ObjectMutations
from graphql_schema.objects.queries import ObjectQueries

__all__ = ["ObjectMutations", "ObjectQueries"]
