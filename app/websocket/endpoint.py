"""GraphQL over WebSocket (graphql-transport-ws): subscriptions, queries and mutations."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from app.admission import Admission, quota_key_of
from app.graphql_http.trusted_documents import TrustedDocuments
from app.http.errors import plain_error
from app.http.scope_state import OPEN_WEBSOCKET
from app.runtime.shutdown import Shutdown
from app.websocket.connection import Connection
from app.websocket.handler import TransportHandler
from graphql_schema.engine.operations import LimitedSchema
from stores.errors import StoreError


class GraphQLWebSocket(GraphQL[Any, None]):
    """ASGI application for GraphQL over WebSocket; pages of other origins are refused.

    Args:
        schema: executes the operations.
        make_context: creates the context of one operation.
        max_message_bytes: maximum size of a message.
        max_operations: maximum number of concurrent operations of one connection.
        init_timeout_seconds: time limit for the client's connection_init.
        admission: the limits of the process.
        trusted: documents that clients may request by hash; None if there are none.
        allowed_origins: origins whose pages may connect, in addition to the server's own.
        shutdown: the shutdown of this process.
        patience_seconds: time limit of running operations at a shutdown.
    """

    schema: LimitedSchema
    websocket_adapter_class = Connection
    graphql_transport_ws_handler_class = TransportHandler

    def __init__(
        self,
        schema: LimitedSchema,
        make_context: Callable[[HTTPConnection], object],
        max_message_bytes: int,
        *,
        max_operations: int = 100,
        init_timeout_seconds: float = 10,
        admission: Admission | None = None,
        trusted: TrustedDocuments | None = None,
        allowed_origins: Sequence[str] = (),
        shutdown: Shutdown | None = None,
        patience_seconds: float = 8.0,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            connection_init_wait_timeout=timedelta(seconds=init_timeout_seconds),
            max_subscriptions_per_connection=None,
            allowed_origins=allowed_origins,
        )
        self.admission = admission or Admission()
        self.trusted = trusted
        self.make_context = make_context
        self.max_message_bytes = max_message_bytes
        self.max_operations = max_operations
        self.shutdown = shutdown or Shutdown()
        self.patience_seconds = patience_seconds
        self._handlers: set[TransportHandler] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self.shutdown.on_start(self._close_all)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; one beyond the limit gets an HTTP error with Retry-After."""
        with ExitStack() as stack:
            try:
                slot = stack.enter_context(self.admission.websockets.slot(quota_key_of(scope)))
            except StoreError as error:
                await plain_error(scope, error)(scope, receive, send)
                return
            scope.setdefault("state", {})[OPEN_WEBSOCKET] = slot
            await super().__call__(scope, receive, send)

    @contextmanager
    def going_away(self, handler: TransportHandler) -> Iterator[None]:
        """Close the connection at a shutdown of the server, until the end of the block."""
        self._handlers.add(handler)
        if self.shutdown.has_started:
            self._start_closing(handler)
        try:
            yield
        finally:
            self._handlers.discard(handler)

    def _close_all(self) -> None:
        for handler in self._handlers:
            self._start_closing(handler)

    def _start_closing(self, handler: TransportHandler) -> None:
        task = asyncio.create_task(handler.go_away())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> object:  # noqa: ARG002 - part of the base class's signature
        """Return the context outside of an operation."""
        return self.make_context(request)
