"""The middleware that finds the caller of each connection, and refuses what no caller may do."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admission import RateLimiter
from app.auth.sessions import Authenticator, Session, authorization_header, authorization_in_message
from app.http.connections import CALLER, SESSION, check_host
from app.http.errors import closing, error_response
from stores.errors import StoreError, UnauthenticatedError
from stores.security.access import NOBODY
from stores.security.audit import CALLER as ACTING

KEY_CACHE: Final = "key_cache"
_AUTHENTICATOR: Final = "authenticator"
_UNAUTHENTICATED: Final = Session(NOBODY)
"""Session of a connection that is not authenticated."""

HEALTH: Final = frozenset({"/healthz", "/readyz"})
"""Paths without authentication: a health check must not wait for the keys if the database hangs."""


def on_session_end(scope: Scope) -> AbstractContextManager[asyncio.Future[None]]:
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


async def authenticate_websocket(scope: Scope, payload: Mapping[str, object]) -> None:
    """Authenticate a WebSocket by its first message if it has no session yet.

    Raises:
        StoreError: it has no session, neither from its HTTP request nor by its first message.
    """
    state = scope.get("state", {})
    error = state.get(SESSION)
    if isinstance(error, UnauthenticatedError):
        authenticator: Authenticator = state[_AUTHENTICATOR]
        authorization = authorization_in_message(payload)
        session = await authenticator.authenticate(authorization, state[KEY_CACHE], _address(scope))
        state[SESSION], state[CALLER] = session, session.caller
        ACTING.set(session.caller.id)
    elif isinstance(error, StoreError):
        raise error


class SessionEndedError(OSError):
    """A session ended while its response was streamed; response classes handle it like a client disconnect."""


@dataclass(frozen=True, slots=True)
class CallerMiddleware:
    """ASGI middleware that sets the session and caller of each connection; the guards of the routes check the role.

    It refuses foreign host names if the connection needs no credentials, and callers that exceed their rate.

    Args:
        app: the application behind it.
        authenticator: finds the sessions.
        host_names: the allowed host names; None allows all.
        rates: the limit of each caller's requests; None without a limit.
    """

    app: ASGIApp
    authenticator: Authenticator
    host_names: frozenset[str] | None = None
    rates: RateLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Authenticate the connection and pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        session = state[SESSION] = await self._session_or_error(scope, state)
        caller = state[CALLER] = NOBODY if isinstance(session, StoreError) else session.caller
        ACTING.set(caller.id)
        try:
            # A caller without grants may use any name: a health probe, whose answer reveals next to nothing.
            if self.host_names is not None and caller.is_anonymous and caller.grants:
                check_host(scope, self.host_names)
            if self.rates:
                self.rates.check_connection(scope)
        except StoreError as error:
            await error_response(scope, error)(scope, receive, send)
            return
        if scope["type"] != "http" or isinstance(session, StoreError) or session.is_endless:
            await self.app(scope, receive, send)
        else:
            await self._run_in_session(session, scope, receive, send)

    async def _session_or_error(self, scope: Scope, state: dict[str, Any]) -> Session | StoreError:
        if scope["path"] in HEALTH:
            return _UNAUTHENTICATED
        try:
            return await self.authenticator.authenticate(
                authorization_header(scope["headers"]), state[KEY_CACHE], _address(scope)
            )
        except StoreError as error:
            state[_AUTHENTICATOR] = self.authenticator
            return error.with_traceback(None)

    async def _run_in_session(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and cut its streamed response when the session ends; a complete response is sent whole.

        The application receives no more of the body once the session has ended.
        """
        refusal: StoreError | None = None
        has_started = False

        async def receive_in_session() -> Message:
            nonlocal refusal
            message = await receive()
            if message["type"] == "http.request":
                try:
                    await session.check()
                except StoreError as error:
                    refusal = error
                    return {"type": "http.disconnect"}
            return message

        async def send_in_session(message: Message) -> None:
            nonlocal has_started
            if message.get("more_body") and not session.is_valid():
                raise SessionEndedError
            if has_started or refusal is None:
                has_started = True
                await send(message)

        try:
            await self.app(scope, receive_in_session, send_in_session)
        except (SessionEndedError, ClientDisconnect):
            return  # the response was being streamed, so no error can be sent
        if refusal and not has_started:
            await closing(error_response(scope, refusal))(scope, receive, send)


def _address(scope: Scope) -> str:
    server = scope.get("server")
    return server[0] if server else ""
