"""OTLP over HTTP: `POST /v1/traces` and `/v1/logs`, as https://opentelemetry.io/docs/specs/otlp/ specifies.

A request succeeds once its spans or log records are stored. An error that an exporter should retry gets 503 with
Retry-After, or 504; other errors get another status.
"""

from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.admission import quota_key_of
from app.auth.permissions import access_of
from app.http.connections import JSON, PROTOBUF, media_type_of
from app.http.errors import OTLP_PATHS, RequestError, error_boundary, otlp_error
from app.http.request_body import BodyRules, read_body
from stores.concurrency.quotas import RequestBudget, Reservation
from stores.errors import NotFoundError, PayloadTooLargeError
from stores.json import codec, incremental
from stores.otel import LOGS, TRACES, Exported, OtelStore, Projects, Signal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PROJECT_HEADER: Final = "project_id"
COPIES: Final = {PROTOBUF: 2, JSON: 4}
"""Memory of a body during decoding, as a multiple of its size; measured."""

_ADVICE: Final = "export fewer spans or log records at once"

MAX_VALUES: Final = 500_000
"""Limit of JSON values in one body: about ten thousand ordinary spans, or 100 MB of memory."""


class OtlpEndpoint:
    """The endpoint of traces and logs.

    Args:
        max_body_bytes: the limit of a decompressed body.
        entity: the entity of projects that only a program's resource names.
        request_budget: the budget of memory for request bodies.
    """

    def __init__(self, max_body_bytes: int, entity: str, request_budget: RequestBudget) -> None:
        self.entity = entity
        self.request_budget = request_budget
        self._body_rules = {
            media_type: BodyRules(max_body_bytes, _ADVICE, copies=copies, decompresses=True)
            for media_type, copies in COPIES.items()
        }

    def routes(self) -> list[Route]:
        """Return the routes, including those that reject metrics."""
        handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "traces": partial(self.post, TRACES),
            "logs": partial(self.post, LOGS),
            "metrics": _unstored,
        }
        return [
            Route(path, error_boundary(handlers[path.rpartition("/")[2]], otlp_error), methods=["POST"])
            for path in OTLP_PATHS
        ]

    async def post(self, signal: Signal, request: Request) -> Response:
        """Store the spans or log records of a request."""
        media_type = media_type_of(request.headers.get("content-type", ""))[0]
        if media_type not in COPIES:
            raise RequestError(f"send {PROTOBUF} or {JSON}, and say so in Content-Type", 415)
        store: OtelStore = request.state["stores"].otel
        # Before the body is read, this checks the project in the header; the spans' resources can name others.
        projects = Projects(
            project_of(request.headers.get(PROJECT_HEADER)), entity=self.entity, check=access_of(request).check
        )
        with self.request_budget.reservation(quota_key_of(request.scope)) as reservation:
            # No variable keeps the body, so that it is freed while its spans are stored.
            body = read_body(request, self._body_rules[media_type], reservation)
            if media_type == PROTOBUF:
                exported = await store.export_protobuf(await body, projects, signal=signal)
            else:
                exported = await store.export_json(await _read(await body, reservation), projects, signal=signal)
        if media_type == JSON:
            content = codec.dumps(_response_json(signal, exported))
        else:
            content = response_of(signal, exported).SerializeToString()
        return Response(content, headers={"Cache-Control": "no-store"}, media_type=media_type)


async def _unstored(_request: Request) -> Response:
    """Reject metrics, which reach the server if one endpoint variable is set for all signals.

    The status is 404, which no exporter retries; some retry every status from 500 on.
    """
    raise NotFoundError(
        "LoomQL stores traces and logs only; set OTEL_METRICS_EXPORTER=none in the environment of the program that "
        "sends metrics"
    )


async def _read(text: bytearray, reservation: Reservation) -> object:
    """Parse a JSON body, and reserve the memory of its value."""
    try:
        return await incremental.loads(text, MAX_VALUES, reserve=reservation.reserve)
    except PayloadTooLargeError as error:
        reason = error.message.partition(";")[0]
        raise error.reworded(f"the body {reason}; {_ADVICE}") from None


def project_of(header: str | None) -> str | None:
    """Return the project in a header, percent-decoded; None without the header."""
    return unquote(header).strip() if header else None


def response_of(signal: Signal, exported: Exported) -> ExportTraceServiceResponse | ExportLogsServiceResponse:
    """Return the response message, which HTTP and gRPC share."""
    message = ExportLogsServiceResponse() if signal is LOGS else ExportTraceServiceResponse()
    return json_format.ParseDict(_response_json(signal, exported), message)


def _response_json(signal: Signal, exported: Exported) -> dict[str, object]:
    if not exported.rejected:
        return {}
    return {"partialSuccess": {signal.rejected: str(exported.rejected), "errorMessage": exported.error_message}}
