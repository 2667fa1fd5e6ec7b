"""WebSocket protocol that reserves memory for messages as their frames arrive, and gives them a deadline."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from starlette.status import WS_1009_MESSAGE_TOO_BIG, WS_1011_INTERNAL_ERROR
from uvicorn._types import ASGIReceiveEvent

from app.http.request_body import PACE, TimeLeft
from app.websocket.ping_limits import PingLimitProtocol
from stores.concurrency.request_budget import FREE_BYTES, Reservation
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


class ReservingProtocol(PingLimitProtocol):
    """WebSocket protocol with a memory budget and a minimum rate for incoming messages.

    While the budget is full, reading pauses for up to two seconds. Then the connection is closed with 1013, unless the
    message has at most 64 KiB (`MAX_REFUSABLE_BYTES`): the application refuses its operation alone. A client that sends
    a message more slowly than `PACE` allows is closed with 4408.

    A message of more than 16 KiB reaches the application as an event with `ENCODED` and `RESERVATION`.
    """

    new_reservation: Callable[[], Reservation] | None = None
    """Creates the reservation of one message; None until the client is authenticated."""

    max_untrusted_bytes = FREE_BYTES
    """Maximum bytes that an unauthenticated client may have sent without the application receiving them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare a new connection."""
        super().connection_made(transport)
        # Compression is off: inflating takes up to a thousand times the size of a message, at once and uncounted.
        self.conn.available_extensions = []
        self._unparsed = memoryview(b"")
        self._reservation: Reservation | None = None  # of bytes that are not queued as messages yet
        self._queued_reservations: list[Reservation] = []
        self._reserving: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None  # runs while a message is incomplete
        self._time_left = TimeLeft(PACE)
        self._last_read = 0.0  # or when reading resumed: our pauses do not count

    def connection_lost(self, exc: Exception | None) -> None:
        """Release all memory."""
        self._release()
        super().connection_lost(exc)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Release all memory: the application receives no more, though the transport may stay open for a while."""
        self._release()
        super().on_task_complete(task)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that the transport read, at most 16 KiB at a time, and reserve memory for them."""
        if len(data) > _SLICE:
            self._unparsed = memoryview(data)
            self._parse()
            return
        super().data_received(data)
        if self.conn.reader.buffer or self.frames or self._timer or self._reservation:
            self._account(len(data))

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
        elif self.close_sent:
            self._discard_after_close()
        elif self.handshake_initiated:
            self._reserve()
            self._move_deadline(arrived)

    def _incomplete_bytes(self) -> int:
        return len(self.conn.reader.buffer) + (self.conn.current_size or 0) + _FRAME_BYTES * len(self.frames)

    def _unread_bytes(self) -> int:
        return len(self._unparsed) + self._incomplete_bytes() + _FRAME_BYTES * self.queue.qsize()

    def _reserve(self) -> None:
        unread = self._unread_bytes()
        if self.new_reservation is None:
            if unread > self.max_untrusted_bytes:
                self.fail(WS_1009_MESSAGE_TOO_BIG, "the messages before connection_ack are too large")
        elif unread <= FREE_BYTES:
            self._release_reservation()
        elif self._reserving is None:
            self._reservation = self._reservation or self.new_reservation()
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
        if is_small or self.new_reservation is None or self.close_sent or sum(map(len, self.frames)) <= FREE_BYTES:
            super().send_receive_event_to_app()
        elif self.curr_msg_data_type == "bytes":
            self.frames = [b""]  # the application refuses a binary message without reading it
            super().send_receive_event_to_app()
        else:
            reservation, self._reservation = self._reservation or self.new_reservation(), None
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
            self._time_left = TimeLeft(PACE)
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

    def _discard_after_close(self) -> None:
        """Keep reading for the client's close frame, but keep nothing large before it."""
        if self._incomplete_bytes() > FREE_BYTES:
            self._discard()
            self.conn.fail(TRY_AGAIN)

    def fail(self, code: int, reason: str) -> None:
        """Close the connection, and discard what the client still sends, so that it reads the reason."""
        if self.close_sent or self.transport.is_closing():
            return
        self._discard()
        if not self.handshake_complete:
            self.transport.abort()
            return
        self.conn.fail(code, reason)
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.read_paused = False
        self.transport.resume_reading()
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
