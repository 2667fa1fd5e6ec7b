"""Operations of GraphQL as spans, below those of their requests."""

from typing import Any

from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult

from app.observing.tracing import Tracing
from graphql_schema.operations import BoundedSchema

_UNNAMED = "operation"


def trace_operations(schema: BoundedSchema, tracing: Tracing) -> None:
    """Let each operation that a schema runs be a span: queries and mutations until their end, others as they begin."""
    execute, stream = schema.execute, schema.stream

    def attributes(query: object, more: dict[str, Any]) -> dict[str, str]:
        name = more.get("operation_name")
        root = schema.will_do(query, name) if isinstance(query, str) else ""
        return {"graphql.operation.root": root, **({"graphql.operation.name": name[:128]} if name else {})}

    async def traced(query: str | None, *given: Any, **more: Any) -> ExecutionResult:  # noqa: ANN401 -- the schema's own
        told = attributes(query, more)
        with tracing.span(told["graphql.operation.root"] or _UNNAMED, "INTERNAL", told) as span:
            result = await execute(query, *given, **more)
            if result.errors:
                tracing.failed(span, str((result.errors[0].extensions or {}).get("code", "")))
            return result

    async def streamed(query: str | None, *given: Any, **more: Any) -> StreamResult:  # noqa: ANN401 -- the schema's own
        told = attributes(query, more)
        with tracing.span(told["graphql.operation.root"] or _UNNAMED, "INTERNAL", told):
            return await stream(query, *given, **more)

    vars(schema).update(execute=traced, stream=streamed)
