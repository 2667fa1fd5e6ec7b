"""Authentication middleware: the session and caller of each connection."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.authenticator import Authenticator
from app.auth.credentials import authorization_header, authorization_in_message
from app.auth.sessions import Ended, Session, UnrestrictedSession
from app.http.errors import closing, error_response
from app.http.scope_state import CALLER
from stores.errors import StoreError, UnauthenticatedError
from stores.security.access import NOBODY

SESSION: Final = "session"
"""Key in `scope["state"]` of the connection's session, or of the error that it has instead."""

KEY_CACHE: Final = "key_cache"
_AUTHENTICATOR: Final = "authenticator"
_UNAUTHENTICATED: Final = UnrestrictedSession(NOBODY)
"""Session of a connection that is not authenticated."""

HEALTH: Final = frozenset({"/healthz", "/readyz"})
"""Paths without authentication: a health check must not wait for the keys if the database hangs."""


def on_session_end(scope: Scope) -> AbstractContextManager[Ended]:
    """Yield a future that completes when the connection's session ends; it is cancelled at the end of the block."""
    session: Session = scope.get("state", {}).get(SESSION, _UNAUTHENTICATED)
    return session.on_end()


async def check_session(scope: Scope) -> None:
    """Check that the session of a connection has not ended.

    Raises:
        UnauthenticatedError: it has ended.
        StoreError: the keys cannot be read.
    """
    session: Session = scope.get("state", {}).get(SESSION, _UNAUTHENTICATED)
    await session.check()


async def authenticate_websocket(scope: Scope, payload: Mapping[str, object]) -> StoreError | None:
    """Authenticate a WebSocket by its first message if it has no session yet; return the error, or None."""
    state = scope.get("state", {})
    if isinstance(state.get(SESSION), UnauthenticatedError):
        authenticator: Authenticator = state[_AUTHENTICATOR]
        try:
            session = await authenticator.authenticate(
                authorization_in_message(payload), state[KEY_CACHE], _address(scope)
            )
        except StoreError as error:
            return error.with_traceback(None)
        state[SESSION], state[CALLER] = session, session.caller
    session_or_error = state.get(SESSION)
    return session_or_error if isinstance(session_or_error, StoreError) else None


class SessionEndedError(OSError):
    """A session ended while its response was streamed; response classes handle it like a client disconnect."""


class AuthenticationMiddleware:
    """ASGI middleware that sets the session and caller of each connection; the guards of the routes refuse.

    Args:
        app: the application behind it.
        authenticator: finds the sessions.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self.app = app
        self.authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate the connection and pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if scope["path"] in HEALTH:
            state[SESSION], state[CALLER] = _UNAUTHENTICATED, NOBODY
            await self.app(scope, receive, send)
            return
        try:
            session = await self.authenticator.authenticate(
                authorization_header(scope["headers"]), state[KEY_CACHE], _address(scope)
            )
        except StoreError as error:
            state[SESSION], state[CALLER] = error.with_traceback(None), NOBODY
            state[_AUTHENTICATOR] = self.authenticator
            await self.app(scope, receive, send)
            return
        state[SESSION], state[CALLER] = session, session.caller
        if isinstance(session, UnrestrictedSession) or scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await self._run_in_session(session, scope, receive, send)

    async def _run_in_session(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and cut its streamed response when the session ends; a complete response is sent whole.

        The application receives no more of the body once the session has ended.
        """
        body = _Body(session, receive)
        has_started = False

        async def send_in_session(message: Message) -> None:
            nonlocal has_started
            if message.get("more_body") and not session.is_valid():
                raise SessionEndedError
            if has_started or body.refusal is None:
                has_started = True
                await send(message)

        try:
            await self.app(scope, body.receive, send_in_session)
        except (SessionEndedError, ClientDisconnect):
            return  # the response was being streamed, so no error can be sent
        if body.refusal and not has_started:
            await closing(error_response(scope, body.refusal))(scope, receive, send)


class _Body:
    """A request body that ends with `http.disconnect` when the session ends."""

    def __init__(self, session: Session, receive: Receive) -> None:
        self.refusal: StoreError | None = None
        self._session = session
        self._receive = receive

    async def receive(self) -> Message:
        """Return the next message, or `http.disconnect` if the session has ended."""
        message = await self._receive()
        if message["type"] == "http.request":
            try:
                await self._session.check()
            except StoreError as error:
                self.refusal = error
                return {"type": "http.disconnect"}
        return message


def _address(scope: Scope) -> str:
    server = scope.get("server")
    return server[0] if server else ""
