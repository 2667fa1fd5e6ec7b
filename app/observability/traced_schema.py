"""Tracing spans of GraphQL operations, below the spans of their requests."""

from collections.abc import Iterator
from contextlib import contextmanager

from strawberry.types import ExecutionResult

from app.observability.tracing import Tracing
from graphql_schema.engine.operations import LimitedSchema, OnResult

_UNNAMED = "operation"


def trace_operations(schema: LimitedSchema, tracing: Tracing) -> None:
    """Trace each operation of a schema: queries and mutations until they end, streams until they start."""

    @contextmanager
    def traced(root_field: str, name: str | None) -> Iterator[OnResult]:
        attributes = {"graphql.operation.root": root_field, **({"graphql.operation.name": name[:128]} if name else {})}
        with tracing.span(root_field or _UNNAMED, "INTERNAL", attributes) as span:

            def tell(result: ExecutionResult) -> None:
                if result.errors:
                    tracing.failed(span, str((result.errors[0].extensions or {}).get("code", "")))

            yield tell

    schema.observer = traced
