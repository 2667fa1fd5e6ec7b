"""GraphQL over server-sent events: one operation, its results streamed as they come.

This is the mode of distinct connections of https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md:
whatever is wrong with the operation itself is told in the stream, and a client that has enough just leaves.
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
from app.graphql_http.result_body import body_of
from app.http import keepalive
from app.http.media_types import EVENT_STREAM
from app.observability import request_record
from graphql_schema.engine.shared_results import SharedResult
from graphql_schema.errors import client_error, masked_error
from graphql_schema.hints import StreamHints
from stores.json import codec

_COMMENT: Final = b":\n\n"
_COMPLETE: Final = b"event: complete\ndata:\n\n"
_ONLY_READS: Final = "Send a mutation by POST; GET only reads and subscribes."


class EventStream(Response):
    """The answer that streams the results of one operation until it ends or the client leaves.

    Args:
        results: what the schema streams; it is closed, whichever of the two comes first.
    """

    media_type = EVENT_STREAM
    charset = "utf-8"

    def __init__(self, results: StreamResult) -> None:
        # Nginx would keep events back to fill its buffer.
        super().__init__(headers={"Vary": "Accept", "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["Content-Length"]
        self.results = results

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the results; who leaves is missed at once, also while there is nothing to send.

        Whoever may not be here any longer is told so, and nothing after that.
        """
        telling = asyncio.create_task(self._tell(send))
        leaving = asyncio.create_task(_left(receive))
        with on_session_end(scope) as ended:
            try:
                await asyncio.wait((telling, leaving, ended), return_when=asyncio.FIRST_COMPLETED)
            finally:
                is_over = ended.done()
                telling.cancel()
                leaving.cancel()
                outcome, _left_or_not = await asyncio.gather(telling, leaving, return_exceptions=True)
        if isinstance(outcome, SessionEndedError) or (is_over and isinstance(outcome, asyncio.CancelledError)):
            farewell = next_event({"errors": [client_error(unauthenticated_error()).formatted]}) + _COMPLETE
            await send({"type": "http.response.body", "body": farewell})
        # With an OSError some servers say, too, that the client left; who takes nothing for too long is let go by one.
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            raise outcome

    async def _tell(self, send: Send) -> None:
        async with aclosing(self._events()) as events:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # Some browsers do not take a stream for open before its first byte.
            await _send_text(send, _COMMENT)
            beating = asyncio.create_task(_beat(send))
            try:
                async for event in events:
                    await _send_text(send, event)
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
        await send({"type": "http.response.body", "body": _COMPLETE})

    async def _events(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self.results) as results:
            try:
                async for result in results:
                    if isinstance(result, SharedResult):
                        yield _shared_event(result)
                    elif isinstance(result, StreamHints):
                        # A comment, since clients of the protocol fail on kinds of events that it does not have.
                        yield b": %b\n\n" % codec.dumps({"hints": result.hints})
                    else:
                        yield next_event(_body(result))
            except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets an answer and the log the rest
                masked = masked_error(error, "in an operation over server-sent events")
                request_record.record_error(request_record.INTERNAL)
                yield next_event({"errors": [masked.formatted]})


def next_event(body: dict[str, Any]) -> bytes:
    """One result as an event; line breaks, which JSON text from elsewhere may hold between its words, stay such."""
    return _event_of(codec.dumps(body))


def _event_of(text: bytes) -> bytes:
    return b"".join((b"event: next\n", *(b"data: %b\n" % line for line in text.splitlines()), b"\n"))


def _shared_event(result: SharedResult) -> bytes:
    """The event of a result that goes out to many, made once."""
    event = result.forms.get(EVENT_STREAM)
    if event is None:
        event = result.forms[EVENT_STREAM] = _event_of(result.encoded)
    return event


def _body(result: Any) -> dict[str, Any]:  # noqa: ANN401 -- Strawberry may stream parts of results, which the schema has not
    if not isinstance(result, ExecutionResult):
        raise TypeError("the schema has no incremental delivery")
    request_record.record_result(result)
    if result.errors and isinstance(result.errors[0].original_error, InvalidOperationTypeError):
        refusal = GraphQLError(_ONLY_READS, extensions={"code": "BAD_USER_INPUT"})
        return {"errors": [refusal.formatted]}
    return body_of(result)


async def _beat(send: Send) -> None:
    while True:
        await asyncio.sleep(keepalive.BEAT_SECONDS)
        await _send_text(send, _COMMENT)


async def _send_text(send: Send, text: bytes) -> None:
    """Send some of the stream, and wait until there is room for more.

    Raises:
        TimeoutError: the client has taken nothing for too long.
    """
    async with asyncio.timeout(keepalive.PATIENCE_SECONDS):
        await send({"type": "http.response.body", "body": text, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
