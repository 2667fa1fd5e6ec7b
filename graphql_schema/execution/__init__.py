"""Execution of operations as in graphql-core, with compiled functions for rows."""

from graphql_schema.execution.executor import CompilingExecutor, LimitedRootsExecutor
from graphql_schema.execution.plans import BATCH_RESOLVER, call_directly, field_of

__all__ = ["BATCH_RESOLVER", "CompilingExecutor", "LimitedRootsExecutor", "call_directly", "field_of"]
