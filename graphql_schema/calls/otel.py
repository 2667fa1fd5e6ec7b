"""Mutation that stores OpenTelemetry spans."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt
from graphql_schema.fields import ProjectId, User, resolved_field
from stores.errors import StoreError
from stores.otel import Projects


@strawberry.type
class ExportTracePartialSuccess:
    """Rejected spans of a request whose other spans were stored."""

    rejected_spans: BigInt
    """Number of rejected spans; a retry would reject them again."""
    error_message: str
    """Reasons for the first 20 rejected spans, each with its id and name."""


@strawberry.type
class OtelExportRes:
    """Result of `otelExport`."""

    partial_success: ExportTracePartialSuccess | None
    """Rejected spans; null if all spans were stored."""


@strawberry.type
class OtelMutations:
    """Mutation fields that store spans."""

    @resolved_field()
    async def otel_export(
        self, info: Info, project_id: ProjectId, traces: JSON, wb_user_id: User = None
    ) -> OtelExportRes:
        """Storage of OpenTelemetry spans, each as a call, all in this project whatever their resources state.

        An invalid span is rejected, and the others are stored; a span that is sent again replaces the first one.

        Args:
            traces: ExportTraceServiceRequest in the JSON encoding of OTLP: {"resourceSpans": […]}, names in
                lowerCamelCase, ids in hexadecimal.
        """
        try:
            projects = Projects(project_id, fixed=True)
            exported = await info.context.stores.otel.export_json(traces, projects, wb_user_id)
        except StoreError as error:
            raise error if error.argument else error.prefixed("traces") from None
        if not exported.rejected_spans:
            return OtelExportRes(partial_success=None)
        return OtelExportRes(
            partial_success=ExportTracePartialSuccess(
                rejected_spans=BigInt(exported.rejected_spans), error_message=exported.error_message
            )
        )
