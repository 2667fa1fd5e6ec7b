"""Responses of OTLP over HTTP: the result, or a Status with the error, in the format of the request."""

from typing import Final

from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.responses import Response

from app.http.media_types import media_type_of
from app.observability import request_record
from stores.errors import StoreError, retry_after
from stores.json import codec
from stores.otel import Exported

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

INTERNAL: Final = 500
_STATUS_BY_CODE: Final = {
    "BAD_USER_INPUT": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "PAYLOAD_TOO_LARGE": 413,
    "RATE_LIMITED": 429,
    "CONFLICT": 503,
    "UNAVAILABLE": 503,
    "TIMEOUT": 504,
}
CODES: Final = {
    "BAD_USER_INPUT": Code.INVALID_ARGUMENT,
    "UNAUTHENTICATED": Code.UNAUTHENTICATED,
    "FORBIDDEN": Code.PERMISSION_DENIED,
    "NOT_FOUND": Code.NOT_FOUND,
    "PAYLOAD_TOO_LARGE": Code.RESOURCE_EXHAUSTED,
    # Sent with RetryInfo; without it exporters would drop the spans instead of retrying.
    "RATE_LIMITED": Code.RESOURCE_EXHAUSTED,
    "CONFLICT": Code.UNAVAILABLE,
    "UNAVAILABLE": Code.UNAVAILABLE,
    "TIMEOUT": Code.DEADLINE_EXCEEDED,
}
"""gRPC status code of each error code; any other error is INTERNAL."""


def success(exported: Exported, media_type: str) -> Response:
    """Return the response to a request whose valid spans are all stored."""
    if media_type == JSON:
        rejected = exported.rejected_spans
        partial = {"rejectedSpans": str(rejected), "errorMessage": exported.error_message}
        return _answer(codec.dumps({"partialSuccess": partial} if rejected else {}), 200, JSON)
    return _answer(response_of(exported).SerializeToString(), 200, PROTOBUF)


def response_of(exported: Exported) -> ExportTraceServiceResponse:
    """Return the response message, which HTTP and gRPC share."""
    response = ExportTraceServiceResponse()
    if exported.rejected_spans:
        response.partial_success.rejected_spans = exported.rejected_spans
        response.partial_success.error_message = exported.error_message
    return response


def failure(error: StoreError, status: int, media_type: str) -> Response:
    """Return the response to a rejected request, with Retry-After if the exporter should retry soon."""
    message = message_of(error)
    request_record.record_error(error.code)
    code = CODES.get(error.code, Code.INTERNAL)
    if media_type == JSON:
        body = codec.dumps({"code": code, "message": message})
    else:
        body = Status(code=code, message=message).SerializeToString()
    answer = _answer(body, status, media_type)
    if (seconds := retry_after(error)) is not None:
        answer.headers["Retry-After"] = str(seconds)
    return answer


def refusal(error: StoreError, content_type: str) -> Response:
    """Return the response to a request whose body is not read, in the format of its Content-Type or in JSON."""
    return failure(error, status_of(error), PROTOBUF if media_type_of(content_type)[0] == PROTOBUF else JSON)


def status_of(error: StoreError) -> int:
    """Return the HTTP status of an error; exporters retry 429, 503 and 504 only."""
    return _STATUS_BY_CODE.get(error.code, INTERNAL)


def message_of(error: StoreError) -> str:
    """Return the error message for the sender, which starts with the invalid argument."""
    return f"{error.argument}: {error.message}" if error.argument else error.message


def _answer(body: bytes, status: int, media_type: str) -> Response:
    return Response(body, status, {"Cache-Control": "no-store"}, media_type)
