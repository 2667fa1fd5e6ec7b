"""OpenTelemetry in the API: a request of its protocol as an argument."""

from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, plain_field, resolved_field
from graphql_schema.scalars import BigInt
from stores.errors import StoreError

Traces = Annotated[
    JSON,
    strawberry.argument(
        description='An ExportTraceServiceRequest in OTLP\'s JSON: {"resourceSpans": […]}, names in lowerCamelCase, '
        "ids in hexadecimal."
    ),
]
User = Annotated[str | None, strawberry.argument(description="Who writes; the caller if left out.")]


@strawberry.type(description="Which spans of a request were not stored, while all others were.")
class ExportTracePartialSuccess:
    """How many, and why."""

    rejected_spans: BigInt = plain_field("How many spans were rejected; sent again they would be rejected again.")
    error_message: str = plain_field("Why the first 20 of them were, each with its id and name.")


@strawberry.type(description="What an export of spans stored: all of them, or all but some.")
class OtelExportRes:
    """What was rejected."""

    partial_success: ExportTracePartialSuccess | None = plain_field("What was rejected; null if nothing was.")


@strawberry.type
class OtelMutations:
    """The fields of Mutation that write spans."""

    @resolved_field(
        "Store spans of OpenTelemetry, each as a call, all in this project whatever their resources say. A span that "
        "breaks a rule is rejected, and the others are stored; one that is sent again replaces itself."
    )
    async def otel_export(
        self, info: Info, project_id: ProjectId, traces: Traces, wb_user_id: User = None
    ) -> OtelExportRes:
        """Export spans."""
        try:
            exported = await info.context.stores.otel.export_json(traces, project_id, wb_user_id, fixed=True)
        except StoreError as error:
            raise error if error.argument else error.prefixed("traces") from None
        if not exported.rejected_spans:
            return OtelExportRes(partial_success=None)
        return OtelExportRes(
            partial_success=ExportTracePartialSuccess(
                rejected_spans=BigInt(exported.rejected_spans), error_message=exported.error_message
            )
        )
