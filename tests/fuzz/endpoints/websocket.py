"""GraphQL over WebSocket: messages in any order, some of them invalid."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.fuzz import access, callers, damage, oracle, reading, texts
from tests.fuzz.callers import Caller
from tests.fuzz.documents import Documents
from tests.fuzz.wire import TIMEOUT_SECONDS

NAME: Final = "websocket"
_KINDS: Final = {"connection_ack", "next", "error", "complete", "ping", "pong"}
_OFTEN: Final = 0.1
_MISUNDERSTOOD: Final = 1002
_BROKEN_OFF: Final = 1006
_FAILED: Final = 1011
"""Close codes for a protocol error, a connection that ended without a close frame, and a failure of the server."""

_REFUSED: Final = {400, 401, 431}
"""Statuses with which the server may reject a handshake because of its headers."""

_TURNED_AWAY: Final = {429, 503}
"""Statuses with which the server rejects callers with too many connections, or any caller while it is busy."""

_ODD: Final = (
    "", "null", "[]", "5", "{", "\ufeff{}", '{"type": null}',
    '{"type": "connection_init", "payload": 5}', "[" * 5000,
    '{"type": "subscribe"}', '{"type": "subscribe", "id": 5, "payload": {}}', '{"type": "complete", "id": "nobody"}',
    '{"type": "complete"}', '{"type": "ping", "payload": {"a": [1]}}', '{"type": "pong"}',
    '{"type": "next", "id": "1"}',
    '{"type": "connection_init", "payload": {"a": "\\ud800"}}', '{"type": "subscribe", "id": "", "payload": null}',
    '{"type": "subscribe", "id": "1", "payload": {"query": 5}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": ""}}',
    '{"type": "connection_terminate"}', '{"type": "start", "id": "1", "payload": {"query": "{ __typename }"}}',
)  # fmt: skip


@dataclass
class Session:
    """The frames and headers of one connection, and the problems and codes that the server's answers show."""

    caller: Caller
    sent: list[str | bytes]
    headers: tuple[tuple[str, str], ...] = ()
    codes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    closed_with: int | None = None
    breaks_off: bool = False
    """True if the client aborts the connection without a close frame."""
    breaks_protocol: bool = False
    """True if the client closes in the middle of a message, which the server answers with 1002."""


def session(random: Random, documents: Documents, caller: Caller) -> Session:
    """Return the frames of one connection; some callers send their key in the header of the handshake."""
    frames: list[str | bytes] = [callers.init(random, caller)] if random.random() < 0.85 else []
    frames += [_frame(random, documents) for _ in range(random.randint(1, 12))]
    if random.random() < 0.1:
        random.shuffle(frames)
    # The client accepts no other headers; requests to the other endpoints have stranger ones.
    is_sent = (caller.authorization or "").isprintable() and (caller.authorization or "").isascii()
    return Session(caller, frames, caller.headers if is_sent and random.random() < 0.3 else ())


def _frame(random: Random, documents: Documents) -> str | bytes:
    way = random.random()
    if way < 0.1:
        return random.choice(_ODD)
    if way < 0.12:
        return random.randbytes(10)
    if way < 0.13:
        query = 'query ($a: JSON!) { calls(projectId: "fuzz/own", first: 1, query: { json: $a }) { nodes { id } } }'
        dense = f'{{"query": {json.dumps(query)}, "variables": {{"a": {texts.dense(random, 1_000_000)}}}}}'
        return f'{{"type": "subscribe", "id": "1", "payload": {dense}}}'
    if way < 0.2:
        return json.dumps({"type": random.choice(("complete", "ping", "pong")), "id": _id(random)})
    operation = documents.make(random, random.choice(("query", "mutation", "subscription", "subscription")))
    payload = {"query": operation.document, "variables": operation.variables}
    frame = json.dumps({"type": "subscribe", "id": _id(random), "payload": payload}, ensure_ascii=True)
    if way < 0.3:
        return damage.of_text(random, frame).encode(errors="replace").decode()
    return frame


def _id(random: Random) -> str:
    return random.choice(("1", "2", "3", str(random.random()), texts.text(random)))


async def hold(url: str, held: Session, random: Random) -> None:
    """Send all frames, judge the answers, and close the connection, in some cases without a close frame.

    Raises:
        TimeoutError: the server did not answer or close in time.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS):
        try:
            connection = await _connect(url, held, compression="deflate" if random.random() < _OFTEN else None)
        except InvalidStatus as refused:
            _judge_refusal(refused, held)
            return
        try:
            await _talk(connection, held, random)
        finally:
            await connection.wait_closed()
    held.closed_with = connection.close_code
    is_ours = connection.protocol.close_sent is not None and connection.protocol.close_rcvd is None
    judge_end(held, connection.close_reason or "", is_ours=is_ours)


async def _connect(url: str, held: Session, compression: str | None) -> ClientConnection:
    return await connect(
        url.replace("http", "ws", 1),
        subprotocols=[Subprotocol("graphql-transport-ws")],
        additional_headers=held.headers,
        max_size=None,
        ping_interval=None,
        compression=compression,
    )


async def _talk(connection: ClientConnection, held: Session, random: Random) -> None:
    with suppress(ConnectionClosed):
        for frame in held.sent:
            if random.random() < _OFTEN:
                await connection.ping(random.randbytes(random.choice((8, 125))))
            await connection.send(_fragments(random, frame) if random.random() < _OFTEN else frame)
        if random.random() < _OFTEN and held.sent:
            held.breaks_protocol = True
            await _leave_unfinished(connection, _fragments(random, held.sent[-1]), random.choice((0.05, 1.0)))
        await _listen(connection, held, random.choice((0.05, 0.2)))
    held.breaks_off = random.random() < 0.2
    if held.breaks_off:
        connection.transport.abort()
    else:
        await connection.close()


def _fragments(random: Random, message: str | bytes) -> list[str] | list[bytes]:
    """Split a message into a few or very many frames, some of them empty."""
    count = random.choice((1, 1, 5, 300))
    cuts = [0, *sorted(random.randrange(len(message) + 1) for _ in range(count)), len(message)]
    parts = [message[start:stop] for start, stop in pairwise(cuts)]
    return [*parts, message[:0]]  # type: ignore[return-value]  # of one type, as the message is


async def _leave_unfinished(connection: ClientConnection, fragments: list[str] | list[bytes], seconds: float) -> None:
    """Send a message without its last frame, and wait for the server's reaction."""

    async def unfinished() -> AsyncIterator[str | bytes]:
        for fragment in fragments:
            yield fragment
        await asyncio.Event().wait()

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await connection.send(unfinished())


def judge_end(held: Session, reason: str, *, is_ours: bool) -> None:
    """Report a close that is the server's fault: it failed, disconnected, or found a protocol error without cause."""
    faults = {
        _FAILED: True,
        _MISUNDERSTOOD: not is_ours and not held.breaks_protocol,
        _BROKEN_OFF: not held.breaks_off and not held.breaks_protocol,
    }
    if faults.get(held.closed_with or _BROKEN_OFF):
        held.problems.append(f"the connection was closed with {held.closed_with}: {reason}")
    held.problems += oracle.of_messages([reason])


def _judge_refusal(refused: InvalidStatus, held: Session) -> None:
    """Judge a rejected handshake.

    The server may reject callers with many connections or an invalid key in a header, and any caller while it is busy.
    """
    held.closed_with = refused.response.status_code
    if held.closed_with not in (_REFUSED | _TURNED_AWAY if held.headers else _TURNED_AWAY):
        held.problems.append(f"the connection was refused with {held.closed_with}")
    held.problems += oracle.of_messages([(refused.response.body or b"").decode(errors="replace")])


async def _listen(connection: ClientConnection, held: Session, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                judge(await connection.recv(), held)


def judge(message: str | bytes, held: Session) -> None:
    """Record the problems of one message and the codes of its errors."""
    text = message if isinstance(message, str) else message.decode()
    try:
        decoded: Any = reading.loads(text)
    except ValueError as error:
        held.problems.append(f"a message is no JSON: {error}")
        return
    kind, payload = decoded.get("type"), decoded.get("payload")
    if kind not in _KINDS:
        held.problems.append(f"a message is of type {kind!r}")
    if kind == "connection_ack" and not held.caller.reads:
        held.problems.append(f"{held.caller.name} is let in")
    held.problems += access.of_text(held.caller, text)
    if kind == "next":
        held.problems += oracle.of_result(payload)
        held.problems += oracle.of_messages(oracle.messages(payload))
        held.codes += oracle.codes(payload)
    if kind == "error":
        held.problems += oracle.of_errors(payload)
        held.problems += oracle.of_messages(oracle.messages({"errors": payload}))
        held.codes += oracle.codes({"errors": payload})
