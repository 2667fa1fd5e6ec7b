"""Execution of operations as in graphql-core, with compiled functions for rows."""

from graphql_schema.execution.executor import CompilingExecutor, LimitedRootsExecutor, call_directly
from graphql_schema.execution.plans import BATCH_RESOLVER, field_of

__all__ = ["BATCH_RESOLVER", "CompilingExecutor", "LimitedRootsExecutor", "call_directly", "field_of"]
