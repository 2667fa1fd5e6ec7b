"""GraphQL types and root fields of text search."""

from graphql_schema.text_search.indexes import SearchIndexMutations, SearchIndexQueries
from graphql_schema.text_search.queries import SearchQueries

__all__ = ["SearchIndexMutations", "SearchIndexQueries", "SearchQueries"]
