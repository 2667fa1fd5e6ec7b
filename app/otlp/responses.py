"""The answers of OTLP over HTTP: what was stored, or a Status that says why nothing was, in the request's own form."""

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
    # With when to come again, which its exporters go by; without they would drop what they sent.
    "RATE_LIMITED": Code.RESOURCE_EXHAUSTED,
    "CONFLICT": Code.UNAVAILABLE,
    "UNAVAILABLE": Code.UNAVAILABLE,
    "TIMEOUT": Code.DEADLINE_EXCEEDED,
}
"""gRPC's codes of what stores refuse; all else is INTERNAL."""


def success(exported: Exported, media_type: str) -> Response:
    """The answer to a request whose valid spans are all stored."""
    if media_type == JSON:
        rejected = exported.rejected_spans
        partial = {"rejectedSpans": str(rejected), "errorMessage": exported.error_message}
        return _answer(codec.dumps({"partialSuccess": partial} if rejected else {}), 200, JSON)
    return _answer(response_of(exported).SerializeToString(), 200, PROTOBUF)


def response_of(exported: Exported) -> ExportTraceServiceResponse:
    """The same as the message that both protocols answer with."""
    response = ExportTraceServiceResponse()
    if exported.rejected_spans:
        response.partial_success.rejected_spans = exported.rejected_spans
        response.partial_success.error_message = exported.error_message
    return response


def failure(error: StoreError, status: int, media_type: str) -> Response:
    """The answer to a request that is refused as a whole; with Retry-After where it may be sent again soon."""
    message = told(error)
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
    """The same to one that comes no further, by what it says of its body; in JSON where that is no form of OTLP's."""
    return failure(error, status_of(error), PROTOBUF if media_type_of(content_type)[0] == PROTOBUF else JSON)


def status_of(error: StoreError) -> int:
    """The HTTP status of an error; its senders send again what is answered by 429, 503 or 504, and by nothing else."""
    return _STATUS_BY_CODE.get(error.code, INTERNAL)


def told(error: StoreError) -> str:
    """What a sender is told of an error."""
    return f"{error.argument}: {error.message}" if error.argument else error.message


def _answer(body: bytes, status: int, media_type: str) -> Response:
    return Response(body, status, {"Cache-Control": "no-store"}, media_type)
