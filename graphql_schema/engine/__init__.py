"""Execution of GraphQL requests: parse, limit, plan, execute, format."""
