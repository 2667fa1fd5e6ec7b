"""Responses of GraphQL over HTTP: results as JSON, with a status by their errors, or as server-sent events.

Streams are in the mode of distinct connections of
https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. Errors of the operation are sent in the stream, and a
client ends it by disconnecting.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from graphql import GraphQLError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult

from app.auth.middleware import SessionEndedError, on_session_end
from app.auth.sessions import unauthenticated_error
from app.http import connections
from app.http.errors import statuses_of
from app.http.media_types import EVENT_STREAM, JSON
from app.observability.requests import INTERNAL, current_record
from graphql_schema.engine.hints import StreamHints
from graphql_schema.engine.operations import SharedResult, is_unanswered
from graphql_schema.errors import RETRY_AFTER, client_error, masked_error
from stores.concurrency.byte_budget import Reservation
from stores.json import codec

_SERVER_ERROR: Final = 500
_LARGE: Final = 16 * 1024
"""Size in bytes of a response whose data takes longer to free than to send."""

_COMMENT: Final = b":\n\n"
_COMPLETE: Final = b"event: complete\ndata:\n\n"
_ONLY_READS: Final = "Send a mutation by POST; GET only reads and subscribes."


def result_response(result: ExecutionResult, media_type: str) -> Response:
    """Return the response to an execution result."""
    body, status = body_of(result), 200
    headers = {"Vary": "Accept", "Cache-Control": "no-store"}
    extensions = [error.extensions or {} for error in result.errors or ()]
    if extensions and "data" not in body:
        status = statuses_of(extensions[0].get("code", "")).result
        # A client of the older media type expects status 200 for every GraphQL response.
        status = 200 if media_type == JSON and status < _SERVER_ERROR else status
    temporary = next((each for each in extensions if RETRY_AFTER in each), None)
    if temporary and is_unanswered(result):
        # Scripts and proxies use the status and headers, not the body, to decide about a retry.
        status = statuses_of(temporary["code"]).result
        headers["Retry-After"] = str(temporary[RETRY_AFTER])
    text = codec.dumps(body)
    if len(text) > _LARGE:
        # Freeing the data takes time, so let the event loop write the response first.
        asyncio.get_running_loop().call_soon(body.clear)
    return Response(text, status, headers, f"{media_type}; charset=utf-8")


def body_of(result: ExecutionResult) -> dict[str, Any]:
    """Return the members of a GraphQL response; without `data` if the operation failed before any field ran."""
    body: dict[str, Any] = {}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
    # Errors before the first field have no path.
    if result.data is not None or not result.errors or any(error.path is not None for error in result.errors):
        body["data"] = result.data
    if result.extensions:
        body["extensions"] = result.extensions
    return body


class EventStream(Response):
    """A response that streams the results of one operation until it ends or the client disconnects.

    Args:
        results: the results of the schema; always closed at the end.
        reservation: memory that is released at the first result, because the client may read slowly; None if the
            operation needs its request to the end.
    """

    media_type = EVENT_STREAM
    charset = "utf-8"

    def __init__(self, results: StreamResult, reservation: Reservation | None = None) -> None:
        # X-Accel-Buffering: nginx would buffer events.
        super().__init__(headers={"Vary": "Accept", "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self.results = results
        self.reservation = reservation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the results; end at once when the client disconnects, also while there is nothing to send.

        When the session ends, the client gets an UNAUTHENTICATED error as the last event.
        """
        streaming = asyncio.create_task(self._stream(send))
        disconnect = asyncio.create_task(connections.wait_for_disconnect(receive))
        with on_session_end(scope) as ended:
            try:
                await asyncio.wait((streaming, disconnect, ended), return_when=asyncio.FIRST_COMPLETED)
            finally:
                has_session_ended = ended.done()
                streaming.cancel()
                disconnect.cancel()
                outcome, _ = await asyncio.gather(streaming, disconnect, return_exceptions=True)
        if isinstance(outcome, SessionEndedError) or (
            has_session_ended and isinstance(outcome, asyncio.CancelledError)
        ):
            last_events = _error_event(client_error(unauthenticated_error())) + _COMPLETE
            await send({"type": "http.response.body", "body": last_events})
        # Some servers report a disconnect by an OSError, and so does our write timeout.
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._events()) as events:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # Some browsers report a stream as open only after its first byte.
            await _send_text(send, _COMMENT)
            keepalive_task = asyncio.create_task(_send_keepalives(send))
            try:
                async for event in events:
                    await _send_text(send, event)
            finally:
                keepalive_task.cancel()
                await asyncio.gather(keepalive_task, return_exceptions=True)
        await send({"type": "http.response.body", "body": _COMPLETE})

    async def _events(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self.results) as results:
            try:
                async for result in results:
                    if self.reservation:
                        self.reservation.release()
                    if isinstance(result, SharedResult):
                        yield _shared_event(result)
                    elif isinstance(result, StreamHints):
                        # A comment: clients of the protocol fail on unknown event types.
                        yield b": %b\n\n" % codec.dumps({"hints": result.hints})
                    else:
                        yield _result_event(result)
            except Exception as error:  # noqa: BLE001 -- the client gets a masked error, and the log the details
                masked = masked_error(error, "in an operation over server-sent events")
                current_record().count_error(INTERNAL)
                yield _error_event(masked)


def next_event(text: bytes) -> bytes:
    """Return the JSON text of one result as an event; line breaks in embedded JSON text stay valid."""
    return b"".join((b"event: next\n", *(b"data: %b\n" % line for line in text.splitlines()), b"\n"))


def _shared_event(result: SharedResult) -> bytes:
    """Return the event of a result that many subscribers share, encoded once."""
    event = result.forms.get(EVENT_STREAM)
    if event is None:
        event = result.forms[EVENT_STREAM] = next_event(result.encoded)
    return event


def _error_event(error: GraphQLError) -> bytes:
    return next_event(codec.dumps({"errors": [error.formatted]}))


def _result_event(result: object) -> bytes:
    if not isinstance(result, ExecutionResult):
        raise TypeError("the schema does not support incremental delivery")
    current_record().finish_with(result.errors)
    if result.errors and isinstance(result.errors[0].original_error, InvalidOperationTypeError):
        return _error_event(GraphQLError(_ONLY_READS, extensions={"code": "BAD_USER_INPUT"}))
    return next_event(codec.dumps(body_of(result)))


async def _send_keepalives(send: Send) -> None:
    while True:
        await asyncio.sleep(connections.BEAT_SECONDS)
        await _send_text(send, _COMMENT)


async def _send_text(send: Send, text: bytes) -> None:
    """Send a chunk, and wait until the transport accepts more.

    Raises:
        TimeoutError: the client has read nothing for `connections.TIMEOUT_SECONDS`.
    """
    async with asyncio.timeout(connections.TIMEOUT_SECONDS):
        await send({"type": "http.response.body", "body": text, "more_body": True})
