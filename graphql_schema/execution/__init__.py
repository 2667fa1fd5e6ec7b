"""Execution of operations as in graphql-core, with compiled functions for rows."""

from graphql_schema.execution.direct_resolvers import call_directly
from graphql_schema.execution.executor import CompilingExecutor
from graphql_schema.execution.fields import BATCH_RESOLVER, field_of
from graphql_schema.execution.roots import LimitedRootsExecutor

__all__ = ["BATCH_RESOLVER", "CompilingExecutor", "LimitedRootsExecutor", "call_directly", "field_of"]
