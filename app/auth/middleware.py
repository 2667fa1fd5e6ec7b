"""Authentication: who is behind each connection."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.authenticator import Authenticator
from app.auth.credentials import header_of, of_message, with_challenge
from app.auth.sessions import Ended, Session, UnrestrictedSession
from app.http.request_body import closing
from app.http.scope_state import CALLER
from stores.errors import StoreError, UnauthenticatedError
from stores.security.access import NOBODY

SESSION: Final = "session"
"""Where a connection's session is, in the state of its scope, or the error that keeps it from having one."""

KEYRING: Final = "keyring"
_ENTRANCE: Final = "entrance"
_UNASKED: Final = UnrestrictedSession(NOBODY)
"""The session of a connection that nobody authenticates."""

HEALTH: Final = frozenset({"/healthz", "/readyz"})
"""Where nobody is asked who they are: whoever watches over a server whose database hangs must not wait for the keys."""


def on_session_end(scope: Scope) -> AbstractContextManager[Ended]:
    """What is done when the session of a connection is over, for as long as the block lasts."""
    session: Session = scope.get("state", {}).get(SESSION, _UNASKED)
    return session.on_end()


async def check_session(scope: Scope) -> None:
    """See that the session of a connection is not over.

    Raises:
        UnauthenticatedError: it is.
        StoreError: that cannot be found out.
    """
    session: Session = scope.get("state", {}).get(SESSION, _UNASKED)
    await session.check()


async def authenticate_websocket(scope: Scope, payload: Mapping[str, object]) -> StoreError | None:
    """Find the session of a WebSocket by its first message, if it has none yet; why there is none."""
    state = scope.get("state", {})
    if isinstance(state.get(SESSION), UnauthenticatedError):
        entrance: Authenticator = state[_ENTRANCE]
        try:
            session = await entrance.authenticate(of_message(payload), state[KEYRING], _address(scope))
        except StoreError as error:
            return error.with_traceback(None)
        state[SESSION], state[CALLER] = session, session.caller
    found = state.get(SESSION)
    return found if isinstance(found, StoreError) else None


class SessionEndedError(OSError):
    """A key ended in the middle of an answer; what streams it takes this for a client that left."""


class AuthenticationMiddleware:
    """The ASGI middleware that finds the session and the caller of each connection; the routes' guards refuse.

    Args:
        app: what is behind it.
        entrance: where everybody comes in.
        refuse: what makes the answer of each door to what is not heard to its end.
    """

    def __init__(self, app: ASGIApp, entrance: Authenticator, refuse: Callable[[Scope, StoreError], Response]) -> None:
        self.app = app
        self.entrance = entrance
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find them, and go on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        if scope["path"] in HEALTH:
            state[SESSION], state[CALLER] = _UNASKED, NOBODY
            await self.app(scope, receive, send)
            return
        try:
            session = await self.entrance.authenticate(header_of(scope["headers"]), state[KEYRING], _address(scope))
        except StoreError as error:
            state[SESSION], state[CALLER] = error.with_traceback(None), NOBODY
            state[_ENTRANCE] = self.entrance
            await self.app(scope, receive, send)
            return
        state[SESSION], state[CALLER] = session, session.caller
        if isinstance(session, UnrestrictedSession) or scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await self._answer_while_let_in(session, scope, receive, send)

    async def _answer_while_let_in(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and cut off what is streamed when the session is over; what is answered at once is answered.

        Nor does anybody hear more of a request whose session is over before all of it came.
        """
        body = _Body(session, receive)
        has_begun = False

        async def send_while_let_in(message: Message) -> None:
            nonlocal has_begun
            if message.get("more_body") and not session.is_valid():
                raise SessionEndedError
            if has_begun or body.refusal is None:
                has_begun = True
                await send(message)

        try:
            await self.app(scope, body.receive, send_while_let_in)
        except (SessionEndedError, ClientDisconnect):
            return  # it was streamed, and there is nobody to tell
        if body.refusal and not has_begun:
            await closing(with_challenge(self.refuse(scope, body.refusal), body.refusal))(scope, receive, send)


class _Body:
    """The body of a request as it comes while its session lasts; then it is as if the client had left."""

    def __init__(self, session: Session, receive: Receive) -> None:
        self.refusal: StoreError | None = None
        self._session = session
        self._receive = receive

    async def receive(self) -> Message:
        """The next message."""
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
