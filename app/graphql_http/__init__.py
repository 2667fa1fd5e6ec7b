"""GraphQL over HTTP by https://graphql.github.io/graphql-over-http, with server-sent events and uploads."""
