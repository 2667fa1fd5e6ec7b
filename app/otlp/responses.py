"""Responses of OTLP: the result of an export, in the format of the request."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.responses import Response

from app.http.media_types import JSON
from stores.json import codec
from stores.otel import Exported


def success(exported: Exported, media_type: str) -> Response:
    """Return the response to a request whose valid spans are all stored."""
    if media_type == JSON:
        rejected = exported.rejected_spans
        partial = {"rejectedSpans": str(rejected), "errorMessage": exported.error_message}
        content = codec.dumps({"partialSuccess": partial} if rejected else {})
    else:
        content = response_of(exported).SerializeToString()
    return Response(content, headers={"Cache-Control": "no-store"}, media_type=media_type)


def response_of(exported: Exported) -> ExportTraceServiceResponse:
    """Return the response message, which HTTP and gRPC share."""
    response = ExportTraceServiceResponse()
    if exported.rejected_spans:
        response.partial_success.rejected_spans = exported.rejected_spans
        response.partial_success.error_message = exported.error_message
    return response
