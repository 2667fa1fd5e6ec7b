"""GraphQL types and root fields of tables."""

from graphql_schema.tables.mutations import TableMutations
from graphql_schema.tables.queries import TableQueries

__all__ = ["TableMutations", "TableQueries"]
