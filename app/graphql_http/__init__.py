"""GraphQL over HTTP by https://graphql.github.io/graphql-over-http, with server-sent events and uploads."""

from app.graphql_http.endpoint import GraphQLHTTP, request_context

__all__ = ["GraphQLHTTP", "request_context"]
