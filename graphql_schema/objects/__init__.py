"""GraphQL types and root fields of objects and ops."""

from graphql_schema.objects.mutations import ObjectMutations
from graphql_schema.objects.queries import ObjectQueries

__all__ = ["ObjectMutations", "ObjectQueries"]
