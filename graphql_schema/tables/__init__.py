"""Tables in the API."""

from graphql_schema.tables.mutations import TableMutations
from graphql_schema.tables.queries import TableQueries

__all__ = ["TableMutations", "TableQueries"]
