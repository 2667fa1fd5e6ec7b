"""The attacks: requests by which a client with a key for one project may make a server unusable for others.

Each attack is bounded in bytes, connections and time. It returns how often the server gave each result.
"""

import asyncio
import gzip
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.attacks.raw_websocket import CONTINUATION, TEXT, RawWebSocket, RefusedError, deflated
from tests.fuzz.wire import Request, Trickle, Wire

MOST_SECONDS: Final = 20.0
_SLOW_SECONDS: Final = 45.0
"""Seconds for which clients send slow bodies; the server rejects one after half a minute."""
PROJECT: Final = "acme/bench"
FORGED: Final = "FORGED LINE"
NO_RESULT: Final = f"no result in {MOST_SECONDS:g} s"
OPEN: Final = "open at the end"
NO_DEADLINE: Final = "no 408"
_JSON: Final = ("Content-Type", "application/json")
_WEBSOCKETS: Final = 24
_WEBSOCKET_MESSAGE: Final = 33_000_000
_FRAGMENT: Final = 2_000_000
_SLOW_BODY: Final = 6_000_000
_DENSE_BODY: Final = 30_000_000
_BOUNDARY: Final = "----attack"
_PAUSE_SECONDS: Final = 0.2
_ONE_BYTE_EACH_TWO_SECONDS: Final = Trickle(rest=40, pieces=40, pause=2.0)
_MOST_ALIASES: Final = 62
"""Maximum number of aliased scans in one document within the default cost limit."""

_REQUESTS_AT_ONCE: Final = 4
_HOSTILE_DISPOSITIONS: Final = (
    "attachment; filename*=undefined''abc",
    "attachment; filename*=idna''abc%ff",
    "attachment; filename*=a%00b''c",
    f"attachment; filename*0*=utf-8''a; filename*{'9' * 4400}*=b",
)


@dataclass(frozen=True)
class Target:
    """A server and the `Authorization` headers of keys that may read or write only `PROJECT`.

    `second_reader` is the key of another caller with the same grant, whom the attacker controls, too.
    """

    url: str
    reader: str
    writer: str
    second_reader: str
    log: Path

    def headers(self, *more: tuple[str, str], writes: bool = False) -> tuple[tuple[str, str], ...]:
        """Return the headers of a request with the reader's or the writer's key."""
        return (("Authorization", self.writer if writes else self.reader), *more)


Results = Counter[str]
Attack = Callable[[Target], Awaitable[Results]]


async def _ask(target: Target, request: Request, seconds: float = MOST_SECONDS) -> str:
    """Send one request and return its status, or the reason why there is none."""
    wire = Wire(target.url)
    try:
        async with asyncio.timeout(seconds):
            answer = await wire.ask(request)
    except TimeoutError:
        return NO_RESULT
    except OSError as error:
        return type(error).__name__
    finally:
        await wire.close()
    return str(answer.status) if answer.is_whole else "cut"


async def _ask_all(target: Target, requests: list[Request]) -> Results:
    return Counter(await asyncio.gather(*(_ask(target, request) for request in requests)))


async def _ask_again_and_again(
    target: Target, request: Request, clients: int, for_seconds: float = MOST_SECONDS
) -> Results:
    """Let some clients repeat a request until the time is up, and return their results."""
    results = Results()

    async def one() -> None:
        ends = time.monotonic() + for_seconds
        while (seconds := ends - time.monotonic()) > 0:
            result = await _ask(target, request, seconds)
            results[OPEN if result == NO_RESULT else result] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    await asyncio.gather(*(one() for _ in range(clients)))
    return results


async def _on_websockets(target: Target, act: Callable[[RawWebSocket], Awaitable[None]], *, deflates: bool) -> Results:
    """Open `_WEBSOCKETS` connections, let each do something, and return their results."""

    async def one() -> str:
        began = time.monotonic()
        try:
            async with asyncio.timeout(MOST_SECONDS):
                connection = await RawWebSocket.open(target.url, target.reader, deflates=deflates)
        except TimeoutError:
            return "handshake: no answer"
        except (RefusedError, OSError) as error:
            return str(error)
        try:
            if deflates and not connection.deflates:
                return "permessage-deflate is not accepted"
            async with asyncio.timeout(began + MOST_SECONDS - time.monotonic()):
                await act(connection)
                await connection.wait_for(2)
        except TimeoutError:
            return OPEN
        finally:
            await connection.close()
        return connection.end or connection.replies[-1]

    return Counter(await asyncio.gather(*(one() for _ in range(_WEBSOCKETS))))


def _subscribe(size: int) -> bytes:
    start, end = b'{"type":"subscribe","id":"1","payload":{"query":"{__typename}","variables":{"a":"', b'"}}}'
    return start + b"x" * (size - len(start) - len(end)) + end


async def websocket_messages(target: Target) -> Results:
    """24 WebSockets send a message of 33 MB each."""
    message = _subscribe(_WEBSOCKET_MESSAGE)
    return await _on_websockets(target, lambda connection: connection.send(message), deflates=False)


async def deflated_messages(target: Target) -> Results:
    """24 WebSockets send a message of 33 MB each, which permessage-deflate packs into 32 kB."""
    message = deflated(_subscribe(_WEBSOCKET_MESSAGE))
    return await _on_websockets(target, lambda connection: connection.send(message, is_deflated=True), deflates=True)


async def unfinished_fragments(target: Target) -> Results:
    """24 WebSockets send 32 MB each in fragments of a message that they do not finish."""
    fragment = b"x" * _FRAGMENT

    async def act(connection: RawWebSocket) -> None:
        for number in range(16):
            await connection.send(fragment, CONTINUATION if number else TEXT, is_final=False)

    return await _on_websockets(target, act, deflates=False)


async def _send_slowly(target: Target, request: Request, clients: int) -> Results:
    """Let clients send bodies that never end.

    The results contain `NO_DEADLINE` if the server rejected none of them.
    """
    results = await _ask_again_and_again(target, request, clients, _SLOW_SECONDS)
    return results if results["408"] else results + Results([NO_DEADLINE])


async def slow_bodies(target: Target) -> Results:
    """11 POSTs of 6 MB send all but 40 bytes at once, and then a byte every 2 s."""
    body = json.dumps({"query": "{ __typename }", "variables": {"a": "x" * _SLOW_BODY}}).encode()
    request = Request("graphql", "POST", "/graphql", target.headers(_JSON), body, trickle=_ONE_BYTE_EACH_TWO_SECONDS)
    return await _send_slowly(target, request, 11)


async def slow_gzip(target: Target) -> Results:
    """22 POSTs at /v1/traces send 38.7 kB of gzip in all, and the last bytes of each every 2 s.

    The key may write, since a server can reject other callers before it reads their bodies.
    """
    # 1.76 kB of gzip contain 1.78 MB of zeros, which is close to the highest ratio that gzip reaches.
    body = gzip.compress(bytes(1_780_000), 9)
    headers = target.headers(
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "gzip"),
        ("project_id", PROJECT),
        writes=True,
    )
    request = Request("otlp", "POST", "/v1/traces", headers, body, trickle=_ONE_BYTE_EACH_TWO_SECONDS)
    return await _send_slowly(target, request, 22)


async def empty_gzip_members(target: Target) -> Results:
    """One POST at /v1/traces sends 100 MB of empty gzip members in chunks."""
    body = gzip.compress(b"") * 5_000_000
    headers = target.headers(
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "gzip"),
        ("project_id", PROJECT),
        writes=True,
    )
    request = Request("otlp", "POST", "/v1/traces", headers, body, chunks=(1 << 20,) * (len(body) >> 20))
    return await _ask_all(target, [request])


async def many_sessions(target: Target) -> Results:
    """3 clients POST 20,000 events of Codex at /v1/logs, each of its own session, and other logs."""
    pairs = [[{"key": "conversation.id", "value": {"stringValue": f"{number}"}}] for number in range(20_000)]
    records = [
        {"eventName": name, "attributes": attributes} for attributes in pairs for name in ("codex.user_prompt", "other")
    ]
    body = gzip.compress(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode())
    headers = target.headers(_JSON, ("Content-Encoding", "gzip"), ("project_id", PROJECT), writes=True)
    return await _ask_again_and_again(target, Request("otlp", "POST", "/v1/logs", headers, body), 3)


def _dense() -> bytes:
    document = f'query ($q: JSON!) {{ calls(projectId: "{PROJECT}", query: {{ json: $q }}) {{ nodes {{ id }} }} }}'
    start, end = f'{{"query": {json.dumps(document)}, "variables": {{"q": [{{}}'.encode(), b"]}}"
    return start + b",{}" * ((_DENSE_BODY - len(start) - len(end)) // 3) + end


async def dense_variables(target: Target) -> Results:
    """One POST sends 30 MB of `{}` in its variables."""
    return await _ask_all(target, [Request("graphql", "POST", "/graphql", target.headers(_JSON), _dense())])


async def dense_operations(target: Target) -> Results:
    """One POST sends 30 MB of `{}` in the part `operations` of a form."""
    parts = {b"operations": _dense(), b"map": b"{}"}
    body = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (_BOUNDARY.encode(), name, content)
        for name, content in parts.items()
    )
    headers = target.headers(
        ("Content-Type", f"multipart/form-data; boundary={_BOUNDARY}"), ("Apollo-Require-Preflight", "1")
    )
    request = Request("graphql", "POST", "/graphql", headers, body + f"--{_BOUNDARY}--\r\n".encode())
    return await _ask_all(target, [request])


async def dense_batch(target: Target) -> Results:
    """One POST at /weave/call/upsert_batch sends a batch with one item, 30 MB of `{}`."""
    body = b'{"batch":[[{}' + b",{}" * (_DENSE_BODY // 3) + b"]]}"
    headers = target.headers(_JSON, writes=True)
    return await _ask_all(target, [Request("weave", "POST", "/weave/call/upsert_batch", headers, body)])


async def many_scans(target: Target) -> Results:
    """One POST has 90 aliases of `calls(first: 1)`, each with its own condition that no index supports."""
    return await _ask_all(target, [_scans(target.reader, 90)])


async def permitted_scans(target: Target) -> Results:
    """4 concurrent POSTs have 62 such aliases each, as many as the limit of a query's cost permits."""
    return await _ask_again_and_again(target, _scans(target.reader, _MOST_ALIASES), _REQUESTS_AT_ONCE)


async def permitted_scans_of_two(target: Target) -> Results:
    """4 such concurrent POSTs by each of two callers, who together may use all scan slots."""
    results = await asyncio.gather(
        *(
            _ask_again_and_again(target, _scans(key, _MOST_ALIASES), _REQUESTS_AT_ONCE)
            for key in (target.reader, target.second_reader)
        )
    )
    return results[0] + results[1]


def _scans(key: str, aliases: int) -> Request:
    fields = " ".join(
        f"a{number}: calls(projectId: $p, first: 1, query: {{ json: $q{number} }}) {{ nodes {{ id }} }}"
        for number in range(aliases)
    )
    declared = " ".join(f"$q{number}: JSON!" for number in range(aliases))
    variables = {f"q{number}": _absent(number) for number in range(aliases)}
    body = json.dumps({"query": f"query ($p: ID! {declared}) {{ {fields} }}", "variables": {"p": PROJECT, **variables}})
    return Request("graphql", "POST", "/graphql", (("Authorization", key), _JSON), body.encode())


def _absent(number: int) -> object:
    parts = {"input": {"$getField": "output.answer"}, "substr": {"$literal": f"absent {number}"}}
    return {"$expr": {"$contains": parts}}


async def hostile_dispositions(target: Target) -> Results:
    """PUTs at /files with names that no decoder accepts, and one name of 4,400 digits, by a reader and by a writer."""
    requests = []
    for writes in (False, True):
        upload = Request("files", "PUT", f"/files/{PROJECT}", target.headers(writes=writes), b"content")
        requests += [
            replace(upload, headers=(*upload.headers, ("Content-Disposition", disposition)))
            for disposition in _HOSTILE_DISPOSITIONS
        ]
        requests.append(replace(upload, target=f"{upload.target}?name={'9' * 4400}"))
    return await _ask_all(target, requests)


async def forged_log_lines(target: Target) -> Results:
    """A call's id has a line break and a terminal escape, and the server logs the call's exception."""
    before = target.log.read_bytes()
    end: dict[str, object] = {
        "project_id": PROJECT,
        "id": f"1\n{FORGED}\x1b[31m",
        "ended_at": "2026-03-01T08:00:00Z",
        "output": None,
        "summary": {},
        "exception": "x" * 3_000_000,
    }
    body = json.dumps({"end": end}).encode()
    request = Request("weave", "POST", "/weave/call/end", target.headers(_JSON, writes=True), body)
    results = await _ask_all(target, [request])
    written = target.log.read_bytes().removeprefix(before)
    results["forged log lines"] = sum(line.startswith(FORGED.encode()) for line in written.splitlines())
    results["terminal escapes in the log"] = written.count(b"\x1b")
    return +results


async def upgraded_post(target: Target) -> Results:
    headers = target.headers(_JSON, ("Connection", "Upgrade"), ("Upgrade", "websocket"))
    return await _ask_all(target, [Request("graphql", "POST", "/graphql", headers, b'{"query": "{ __typename }"}')])


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        websocket_messages,
        deflated_messages,
        unfinished_fragments,
        slow_bodies,
        slow_gzip,
        empty_gzip_members,
        many_sessions,
        dense_variables,
        dense_operations,
        dense_batch,
        many_scans,
        permitted_scans,
        permitted_scans_of_two,
        hostile_dispositions,
        forged_log_lines,
        upgraded_post,
    )
}
