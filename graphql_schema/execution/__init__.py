"""Execution of operations as in graphql-core, with compiled functions for rows."""

from graphql_schema.execution.direct_resolvers import call_directly
from graphql_schema.execution.executor import CompilingExecutor
from graphql_schema.execution.resolvers import BATCH_RESOLVER
from graphql_schema.execution.roots import LimitedRootsExecutor
from graphql_schema.execution.source_access import field_of

__all__ = ["BATCH_RESOLVER", "CompilingExecutor", "LimitedRootsExecutor", "call_directly", "field_of"]
