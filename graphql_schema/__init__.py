"""The GraphQL API: types, inputs, and resolvers that call the stores."""
