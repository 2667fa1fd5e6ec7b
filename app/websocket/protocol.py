"""Uvicorn's WebSocket protocol with a memory budget, limits and a graceful shutdown.

Uvicorn puts each message into the queue whatever its size and speed, answers any number of pings, sends no answer to a
bad handshake, closes all connections at once at a shutdown, and waits forever for a client that does not read the close
frame.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

from starlette.status import WS_1002_PROTOCOL_ERROR, WS_1009_MESSAGE_TOO_BIG, WS_1011_INTERNAL_ERROR
from starlette.types import Scope
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Close, Frame
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from app.admission import TokenBuckets
from app.auth.sessions import MAX_CHARACTERS
from app.browser_security import HEADERS
from app.http.request_body import PACE, TimeLeft
from stores.concurrency.quotas import FREE_BYTES, Reservation
from stores.errors import PayloadTooLargeError, RateLimitedError, StoreError
from stores.json import incremental

CLIENT_TIMEOUT: Final = 4408
"""Close code: the client sends a message too slowly or answers no pings; the reason says which."""

TRY_AGAIN: Final = 1013

RESERVATION: Final = "loomql.reservation"
"""Key of a large message's `Reservation` in its event; the application releases it."""

ENCODED: Final = "loomql.encoded"
"""Key of a large text in its event: unchecked UTF-8, because a `str` can take four times the memory."""

MAX_REFUSABLE_BYTES: Final = incremental.SMALL
"""Size in bytes up to which only a message's operation is refused, and the connection stays open."""

MAX_FIRST_BYTES: Final = 2 * MAX_CHARACTERS
"""Maximum size of a message before connection_ack: fits the longest token, with room for more members."""

PINGS_PER_SECOND: Final = 10
PING_BURST: Final = 100
"""Limits of one connection for pings, pongs and tiny fragments; a client needs one in several seconds."""

TOO_MANY_PINGS: Final = 4429
TOO_MANY_REASON: Final = f"The client sent more than {PINGS_PER_SECOND} pings and pongs a second."

_SMALL_FRAGMENT: Final = 128
"""Size in bytes below which a fragment counts like a ping: each takes time and memory besides its payload."""

_AUTHENTICATED: Final = "loomql.authenticated"
"""Key of the function in a connection's scope that ends the limits for unauthenticated clients."""

_SLICE: Final = 16 * 1024
"""Bytes parsed at a time: a read of 256 KiB could put 37,000 tiny messages into the queue."""

_FRAME_BYTES: Final = 256
"""Memory in bytes that a fragment, or a small queued message, takes besides its payload."""


def refusal_reason(error: StoreError) -> str:
    """Return the reason in a close frame, up to 123 bytes, for a message that exceeds the memory budget."""
    if isinstance(error, PayloadTooLargeError):
        return "the message exceeds what one may take of LOOMQL_MAX_PENDING_BYTES; send a smaller one"
    if isinstance(error, RateLimitedError):
        return "your requests in flight take your half of LOOMQL_MAX_PENDING_BYTES; send the message again later"
    return "requests in flight take all of LOOMQL_MAX_PENDING_BYTES; send the message again later"


class _Handshake(ServerProtocol):
    """Handshake of the `websockets` library, with security headers on refusals."""

    def send_response(self, response: Response) -> None:
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            for name, value in HEADERS:
                response.headers.setdefault(name.decode(), value.decode())
        super().send_response(response)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection with a memory budget, a minimum rate for incoming messages, and a maximum rate of pings.

    While the budget is full, reading pauses for up to two seconds. Then the connection is closed with 1013, unless the
    message has at most 64 KiB (`MAX_REFUSABLE_BYTES`): the application refuses its operation alone. A client that sends
    a message more slowly than its `pace` allows is closed with 4408.

    A message of more than 16 KiB reaches the application as an event with `ENCODED` and `RESERVATION`.

    Until the application calls `end_handshake_limits`, a message has at most `MAX_FIRST_BYTES`. At a shutdown the
    application closes an open connection after its operations.
    """

    pace = PACE
    close_seconds = 2.0
    """Time for a client to answer a close frame."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare a new connection."""
        super().connection_made(transport)
        self.close_timeout = self.close_seconds
        self.conn.__class__ = _Handshake
        # Compression is off: inflating takes up to a thousand times the size of a message, at once and uncounted.
        self.conn.available_extensions = []
        self._pings = TokenBuckets(PINGS_PER_SECOND, PING_BURST)
        self._discards = False
        self._new_reservation: Callable[[], Reservation] | None = None  # None until the client is authenticated
        self._unparsed = memoryview(b"")
        self._reservation: Reservation | None = None  # of bytes that are not queued as messages yet
        self._queued_reservations: list[Reservation] = []
        self._reserving: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # runs while a message is incomplete
        self._time_left = TimeLeft(self.pace)
        self._last_read = 0.0  # or when reading resumed: our pauses do not count

    def connection_lost(self, exc: Exception | None) -> None:
        """Release all memory."""
        self._release()
        super().connection_lost(exc)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Release all memory: the application receives no more, though the transport may stay open for a while."""
        self._release()
        super().on_task_complete(task)

    def shutdown(self) -> None:
        """Leave an open connection to the application; refuse one that is not open yet."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    def keepalive_timeout(self) -> None:
        """Close a connection whose client answers no pings; drop it if the client does not read the close frame."""
        super().keepalive_timeout()
        self.loop.call_later(self.close_timeout, self.transport.abort)

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message; an HTTP refusal completes the handshake, which uvicorn would log as a server error."""
        await super().send(message)
        if self.initial_response and self.close_sent:
            self.handshake_complete = True

    def handle_connect(self, event: Request) -> None:
        """Open the connection for small messages."""
        full = self.conn.max_message_size
        self.conn.max_message_size = MAX_FIRST_BYTES if full is None else min(MAX_FIRST_BYTES, full)

        def end_limits(new_reservation: Callable[[], Reservation]) -> None:
            self.conn.max_message_size = full
            self._new_reservation = new_reservation

        super().handle_connect(event)
        if not self.close_sent:
            self.scope.setdefault("extensions", {})[_AUTHENTICATED] = {"end_limits": end_limits}

    def handle_ping(self) -> None:
        """Answer a ping."""
        if self._is_within_rate():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """Accept a pong."""
        if self._is_within_rate():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        """Accept a continuation frame."""
        if event.fin or len(event.data) >= _SMALL_FRAGMENT or self._is_within_rate():
            super().handle_cont(event)

    def _is_within_rate(self) -> bool:
        if self.close_sent or self.transport.is_closing():
            return False
        if self._pings.try_acquire("") == 0:
            return True
        if not self.handshake_complete or not self.writable.is_set():
            self.transport.abort()
            return False
        self.conn.data_to_send()  # the pong, which is not sent
        self.fail(TOO_MANY_PINGS, TOO_MANY_REASON)
        return False

    def handle_parser_exception(self) -> None:
        """Close the connection for a frame that breaks the protocol; before the handshake there is no close frame."""
        frame = self.conn.close_sent or Close(WS_1002_PROTOCOL_ERROR, "")
        self.fail(frame.code, frame.reason)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that the transport read, at most 16 KiB at a time, and reserve memory for them."""
        if self._discards:
            return
        if len(data) > _SLICE:
            self._unparsed = memoryview(data)
            self._parse()
        else:
            super().data_received(data)
            if self.conn.reader.buffer or self.frames or self._timer or self._reservation:
                self._account(len(data))
        if self.conn.handshake_exc and not self.handshake_initiated:
            # Uvicorn would send no response, and keep the connection forever.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def _parse(self) -> None:
        """Parse received bytes until a message is ready for the application, or until memory must be reserved."""
        while self._unparsed and not self.read_paused and not self._reserving:
            part, self._unparsed = bytes(self._unparsed[:_SLICE]), self._unparsed[_SLICE:]
            super().data_received(part)
            self._account(len(part))
        self._resume()

    def _account(self, arrived: int) -> None:
        """Reserve memory for undelivered bytes, and move the deadline of the incomplete message."""
        if self.transport.is_closing():
            self._discard()
        elif self.close_sent and self._incomplete_bytes() > FREE_BYTES:
            # Reads on for the client's close frame, but keeps nothing large before it.
            self.fail(TRY_AGAIN, "")
        elif self.close_sent:
            return
        elif self.handshake_initiated:
            self._reserve()
            self._move_deadline(arrived)

    def _incomplete_bytes(self) -> int:
        return len(self.conn.reader.buffer) + (self.conn.current_size or 0) + _FRAME_BYTES * len(self.frames)

    def _reserve(self) -> None:
        unread = len(self._unparsed) + self._incomplete_bytes() + _FRAME_BYTES * self.queue.qsize()
        if self._new_reservation is None:
            if unread > 2 * MAX_FIRST_BYTES:
                self.fail(WS_1009_MESSAGE_TOO_BIG, "the messages before connection_ack are too large")
        elif unread <= FREE_BYTES:
            self._release_reservation()
        elif self._reserving is None:
            self._reservation = self._reservation or self._new_reservation()
            if unread > self._reservation.size:
                self.transport.pause_reading()
                self._reserving = self.loop.create_task(
                    self._reserve_and_parse(self._reservation, unread - self._reservation.size)
                )

    async def _reserve_and_parse(self, reservation: Reservation, size: int) -> None:
        refusal: StoreError | None = None
        try:
            await reservation.reserve(size)
        except StoreError as error:
            refusal = error
        except Exception:
            self._reserving = None
            self.fail(WS_1011_INTERNAL_ERROR, "the server failed to reserve memory for a message; connect again")
            raise
        self._reserving = None
        if refusal and self._incomplete_bytes() > MAX_REFUSABLE_BYTES + _SLICE:
            is_too_large = isinstance(refusal, PayloadTooLargeError)
            self.fail(WS_1009_MESSAGE_TOO_BIG if is_too_large else TRY_AGAIN, refusal_reason(refusal))
            return
        self._last_read = self.loop.time()
        self._parse()

    def _resume(self) -> None:
        """Resume reading, unless the application must receive first or a reservation is pending."""
        if self.read_paused or self._reserving:
            return
        if self._unparsed:
            self.loop.call_soon(self._parse)  # lets other connections run in between
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next event; reading resumes once the queue is empty."""
        event = await self.queue.get()
        if (
            self._queued_reservations
            and (reservation := cast("dict[str, Any]", event).get(RESERVATION)) in self._queued_reservations
        ):
            self._queued_reservations.remove(reservation)
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            if self._reservation or self._unparsed or self._timer:
                self._last_read = self.loop.time()
                if self._reservation:
                    self._reserve()
                self._resume()
            else:
                self.transport.resume_reading()
        return event

    def send_receive_event_to_app(self) -> None:
        """Queue a complete message; a large one with its reservation."""
        is_small = len(self.frames) == 1 and len(self.frames[0]) <= FREE_BYTES
        if is_small or self._new_reservation is None or self.close_sent or sum(map(len, self.frames)) <= FREE_BYTES:
            super().send_receive_event_to_app()
        elif self.curr_msg_data_type == "bytes":
            self.frames = [b""]  # the application refuses a binary message without reading it
            super().send_receive_event_to_app()
        else:
            reservation, self._reservation = self._reservation or self._new_reservation(), None
            encoded, self.frames = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames), []
            self._queued_reservations.append(reservation)
            event = {"type": "websocket.receive", ENCODED: encoded, RESERVATION: reservation}
            self.queue.put_nowait(cast("ASGIReceiveEvent", event))
            self.read_paused = True
            self.transport.pause_reading()

    def _move_deadline(self, arrived: int) -> None:
        """Extend the deadline of an incomplete message by its new bytes; only time in which the server reads counts."""
        if not self.conn.reader.buffer and not self.frames:
            self._stop_timer()
            return
        now = self.loop.time()
        if self._timer is None:
            self._time_left = TimeLeft(self.pace)
            self._timer = self.loop.call_later(self._time_left.seconds, self._check_deadline)
        else:
            self._time_left.spend(now - self._last_read, arrived)
        self._last_read = now

    def _check_deadline(self) -> None:
        if self.read_paused or self._reserving:
            seconds_left = self._time_left.seconds
        else:
            seconds_left = self._last_read + self._time_left.seconds - self.loop.time()
        if seconds_left > 0:
            self._timer = self.loop.call_later(seconds_left, self._check_deadline)
        else:
            self.fail(CLIENT_TIMEOUT, f"an unfinished message {self._time_left.reason}; send it faster")

    def fail(self, code: int, reason: str) -> None:
        """Close the connection, unless a close frame was sent already, and discard all that the client still sends.

        Closing a socket with unread bytes would reset the connection, and the client would never read the reason.
        """
        self._discard()
        self._discards = True
        if not self.handshake_complete:
            self.transport.abort()
            return
        if not self.close_sent and not self.transport.is_closing():
            self.conn.fail(code, reason)
            self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.read_paused = False
            self.transport.resume_reading()
            # Uvicorn closes the socket when the application ends, unless there is a timer.
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def _release(self) -> None:
        self._discard()
        for reservation in self._queued_reservations:
            reservation.release()
        self._queued_reservations.clear()

    def _discard(self) -> None:
        """Discard incomplete messages, and release their memory."""
        self._unparsed, self.frames = memoryview(b""), []
        self._stop_timer()
        self._release_reservation()

    def _release_reservation(self) -> None:
        if self._reserving is not None:
            self._reserving.cancel()
            self._reserving = None
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def end_handshake_limits(scope: Scope, new_reservation: Callable[[], Reservation]) -> None:
    """End the limits for unauthenticated clients; no effect with another protocol class, which has none.

    `new_reservation` creates the reservation of one message.
    """
    extension: dict[str, Any] | None = scope.get("extensions", {}).get(_AUTHENTICATED)
    if extension:
        extension["end_limits"](new_reservation)
