"""GraphQL over server-sent events: one operation whose results are streamed.

This is the mode of distinct connections of https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. Errors of
the operation are sent in the stream, and a client ends it by disconnecting.
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

from app.auth.credentials import unauthenticated_error
from app.auth.middleware import SessionEndedError, on_session_end
from app.graphql_http.responses import body_of
from app.http import keepalive
from app.http.media_types import EVENT_STREAM
from app.observability import request_record
from graphql_schema.engine.hints import StreamHints
from graphql_schema.engine.results import SharedResult
from graphql_schema.errors import client_error, masked_error
from stores.concurrency.admission import Reservation
from stores.json import codec

_COMMENT: Final = b":\n\n"
_COMPLETE: Final = b"event: complete\ndata:\n\n"
_ONLY_READS: Final = "Send a mutation by POST; GET only reads and subscribes."


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
        disconnect = asyncio.create_task(_wait_for_disconnect(receive))
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
            last_events = next_event({"errors": [client_error(unauthenticated_error()).formatted]}) + _COMPLETE
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
                        yield next_event(_body(result))
            except Exception as error:  # noqa: BLE001 -- the client gets a masked error, and the log the details
                masked = masked_error(error, "in an operation over server-sent events")
                request_record.record_error(request_record.INTERNAL)
                yield next_event({"errors": [masked.formatted]})


def next_event(body: dict[str, Any]) -> bytes:
    """Return one result as an event; line breaks in embedded JSON text stay valid."""
    return _event_of(codec.dumps(body))


def _event_of(text: bytes) -> bytes:
    return b"".join((b"event: next\n", *(b"data: %b\n" % line for line in text.splitlines()), b"\n"))


def _shared_event(result: SharedResult) -> bytes:
    """Return the event of a result that many subscribers share, encoded once."""
    event = result.forms.get(EVENT_STREAM)
    if event is None:
        event = result.forms[EVENT_STREAM] = _event_of(result.encoded)
    return event


def _body(result: Any) -> dict[str, Any]:  # noqa: ANN401 -- Strawberry's type includes incremental results, which this schema never yields
    if not isinstance(result, ExecutionResult):
        raise TypeError("the schema does not support incremental delivery")
    request_record.record_result(result)
    if result.errors and isinstance(result.errors[0].original_error, InvalidOperationTypeError):
        refusal = GraphQLError(_ONLY_READS, extensions={"code": "BAD_USER_INPUT"})
        return {"errors": [refusal.formatted]}
    return body_of(result)


async def _send_keepalives(send: Send) -> None:
    while True:
        await asyncio.sleep(keepalive.BEAT_SECONDS)
        await _send_text(send, _COMMENT)


async def _send_text(send: Send, text: bytes) -> None:
    """Send a chunk, and wait until the transport accepts more.

    Raises:
        TimeoutError: the client has read nothing for `keepalive.PATIENCE_SECONDS`.
    """
    async with asyncio.timeout(keepalive.TIMEOUT_SECONDS):
        await send({"type": "http.response.body", "body": text, "more_body": True})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
