"""GraphQL over WebSocket, protocol graphql-transport-ws: subscriptions, and queries and mutations, too."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from app.admission import OperationLimiter, RateLimiter, quota_key_of
from app.admission.operation_limiter import MOST_OPERATIONS
from app.admission.websockets import WebSockets
from app.error_responses import error_response
from app.graphql_http.trusted_documents import TrustedDocuments
from app.http.scope_state import OPEN_WEBSOCKET
from app.runtime.shutdown import Shutdown
from app.websocket.connection import Connection
from app.websocket.handler import TransportHandler
from graphql_schema.engine.operations import LimitedSchema
from stores.concurrency.request_budget import RequestBudget
from stores.errors import StoreError


class GraphQLWebSocket(GraphQL[Any, None]):
    """The ASGI application that answers GraphQL over WebSocket; a browser's page on another origin is refused.

    Args:
        schema: what executes the operations.
        make_context: the context of one operation.
        max_message_bytes: the largest message that is taken.
        max_operations: how many operations one connection runs at once.
        init_timeout_seconds: how long a client may take to send connection_init.
        intake: what bounds the messages that arrive, or whose operations run, at once.
        websockets: what bounds the connections that are open at once.
        places: what bounds the queries and mutations that run at once.
        rates: how many operations callers may ask for in a second; None for any number.
        trusted: the documents that clients may ask for by their hash; None where there are none.
        allowed_origins: whose pages may connect, besides the server's own.
        stopping: what tells that the server is to stop.
        patience_seconds: how long operations may still take then.
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
        intake: RequestBudget | None = None,
        websockets: WebSockets | None = None,
        places: OperationLimiter | None = None,
        rates: RateLimiter | None = None,
        trusted: TrustedDocuments | None = None,
        allowed_origins: Sequence[str] = (),
        stopping: Shutdown | None = None,
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
        self.places = places or OperationLimiter(MOST_OPERATIONS)
        self.rates = rates
        self.trusted = trusted
        self.make_context = make_context
        self.max_message_bytes = max_message_bytes
        self.max_operations = max_operations
        self.intake = intake or RequestBudget()
        self.websockets = websockets or WebSockets()
        self.stopping = stopping or Shutdown()
        self.patience_seconds = patience_seconds
        self._handlers: set[TransportHandler] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self.stopping.on_start(self._go_away)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; one too many is answered over HTTP with the status and when to come again."""
        try:
            place = self.websockets.open(quota_key_of(scope))
        except StoreError as error:
            await error_response(error)(scope, receive, send)
            return
        with place:
            scope.setdefault("state", {})[OPEN_WEBSOCKET] = place
            await super().__call__(scope, receive, send)

    @contextmanager
    def going_away(self, handler: TransportHandler) -> Iterator[None]:
        """Let a connection go away when the server stops, as long as the block lasts."""
        self._handlers.add(handler)
        if self.stopping.has_begun:
            self._send_away(handler)
        try:
            yield
        finally:
            self._handlers.discard(handler)

    def _go_away(self) -> None:
        for handler in self._handlers:
            self._send_away(handler)

    def _send_away(self, handler: TransportHandler) -> None:
        task = asyncio.create_task(handler.go_away())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> object:  # noqa: ARG002 - part of the base's signature
        """The context of what happens outside of an operation."""
        return self.make_context(request)
