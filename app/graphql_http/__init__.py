"""GraphQL over HTTP (POST and GET), as https://graphql.github.io/graphql-over-http asks for."""

from app.graphql_http.endpoint import GraphQLHTTP

__all__ = ["GraphQLHTTP"]
