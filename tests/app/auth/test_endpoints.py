"""Tests that every endpoint authenticates callers and ends requests of a revoked or expired key."""

import asyncio
import base64
import json
import logging
import shlex
import socket as socket_module
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import grpc.aio
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from app.auth.sessions import KeyCache
from app.commands.dispatch import parser
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Stores
from stores import times
from stores.database import Database
from stores.keys import KeysStore
from stores.otel import LOGS, TRACES, Signal
from stores.security.access import Grant, Role
from stores.timings import DEFAULT_TIMINGS
from tests.app.auth.conftest import CALL, OURS, THEIRS, Keyed
from tests.app.event_stream import Event, events_of, first_of, streaming
from tests.free_ports import free_port
from tests.live_server import live_server
from tests.stores.calls.builders import call_id, start
from tests.stores.otel.messages import PATHS, body, body_of, span
from tests.waiting import TIMEOUT

READ = '{ call(projectId: "%s", id: "%s") { id } }'
WATCH = 'subscription { callEvents(projectId: "%s") { type } }'
TRANSPORT = Subprotocol("graphql-transport-ws")
FOUND = {"data": {"call": {"id": CALL}}}


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


async def read(keyed: Keyed, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"authorization": authorization}
    async with httpx.AsyncClient(base_url=keyed.url, headers=headers, timeout=TIMEOUT) as client:
        return await client.post("/graphql", json={"query": READ % (OURS, CALL)})


@pytest.mark.parametrize("scheme", ["Bearer {}", "bearer  {}"])
async def test_bearer_key_is_accepted(keyed: Keyed, scheme: str) -> None:
    answer = await read(keyed, scheme.format(keyed.keys["reader"]))

    assert answer.json()["data"] == FOUND["data"]


async def test_key_as_basic_password_is_accepted(keyed: Keyed) -> None:
    key = keyed.keys["reader"]

    answers = [await read(keyed, header) for header in (basic("api", key), basic("", key), basic(key, ""))]

    assert [answer.json()["data"] for answer in answers] == [FOUND["data"]] * 3


async def test_every_invalid_credential_gets_the_same_error(keyed: Keyed) -> None:
    now = times.now()
    store = KeysStore(keyed.database, settle_seconds=0)
    revoked, over = [(await store.create([Grant(OURS, Role.ADMIN)])) for _ in range(2)]
    await store.revoke(revoked.key.id)
    await keyed.database.api_keys.update_one({"_id": over.key.id}, {"$set": {"expires_at": now - 1}})
    key = keyed.keys["reader"]
    last = "0" if key[-1] != "0" else "1"
    wrong = [
        None,
        "",
        "Bearer",
        "Bearer x",
        f"Token {key}",
        f"Bearer {key[:-1]}{last}",
        f"Bearer {key}0",
        f"Bearer {key.upper()}",
        f"Bearer loomql_{'0' * 16}_{'0' * 64}",
        f"Bearer {revoked.text}",
        f"Bearer {over.text}",
        "Basic not base64",
        basic("api", "x"),
        f"Bearer {'x' * 60_000}",
    ]

    answers = [await read(keyed, authorization) for authorization in wrong]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Bearer realm="LoomQL"'}
    [text] = {answer.text for answer in answers}
    assert json.loads(text)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "key" in text


async def test_graphiql_page_and_health_need_no_key(keyed: Keyed) -> None:
    async with keyed.client("none") as client:
        page = await client.get("/graphql", headers={"accept": "text/html"})
        api = await client.get("/graphql?query={__typename}")
        health = [await client.get(path) for path in ("/healthz", "/readyz")]

    assert page.headers["content-type"].startswith("text/html")
    assert api.status_code == 401
    assert [answer.status_code for answer in health] == [200, 200]


async def test_post_that_prefers_html_still_needs_a_key(keyed: Keyed) -> None:
    async with keyed.client("none") as client:
        answer = await client.post("/graphql", json={"query": "{ __typename }"}, headers={"accept": "text/html"})

    assert answer.status_code == 401


async def test_html_request_without_graphiql_still_needs_a_key(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, keys="required", graphiql=False)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            headers = {"accept": "text/html, application/json;q=0.5"}
            answer = await client.get("/graphql", params={"query": "{ __schema { types { name } } }"}, headers=headers)

    assert answer.status_code == 401


BATCH = """mutation ($batch: [CallBatchMode!]!) {
  callCreateBatch(batch: $batch) { res { ... on CallStartRes { id } ... on CallEndRes { id } } } }"""


def call_of(project_id: str, number: int) -> list[dict[str, Any]]:
    """Return the start and the end of a call as items of a batch."""
    both = {"projectId": project_id, "id": call_id(number)}
    start = {"opName": "op", "startedAt": "2026-02-28T12:00:00Z", "attributes": {}, "inputs": {}}
    return [{"start": both | start}, {"end": both | {"endedAt": "2026-02-28T12:00:01Z", "summary": {}}}]


async def test_batch_needs_the_writer_role(keyed: Keyed) -> None:
    query = {"query": BATCH, "variables": {"batch": call_of(OURS, 50)}}
    end = f'{{ projectId: "{OURS}", id: "{call_id(51)}", endedAt: "2026-02-28T12:00:01Z", summary: {{}} }}'
    spelled = f"mutation {{ callCreateBatch(batch: {{ end: {end} }}) {{ res {{ __typename }} }} }}"

    async with keyed.client("writer") as writer, keyed.client("reader") as reader:
        taken = await writer.post("/graphql", json=query)
        found = await writer.post("/graphql", json={"query": READ % (OURS, call_id(50))})
        single = await writer.post("/graphql", json={"query": spelled})
        refused = await reader.post("/graphql", json=query)

    assert taken.json()["data"] == {"callCreateBatch": {"res": [{"id": call_id(50)}] * 2}}
    assert found.json()["data"] == {"call": {"id": call_id(50)}}
    assert single.json()["data"] == {"callCreateBatch": {"res": [{"__typename": "CallEndRes"}]}}
    assert refused.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN", "argument": "batch.0.start.projectId"}


async def test_batch_with_an_end_in_another_project_is_refused_whole(keyed: Keyed) -> None:
    [started, ended], [_, elsewhere] = call_of(OURS, 52), call_of(THEIRS, 1)

    async with keyed.client("writer") as writer:
        answers = [
            await writer.post("/graphql", json={"query": BATCH, "variables": {"batch": [*batch, elsewhere]}})
            for batch in ([started], [ended], [started, ended], [])
        ]
        found = await writer.post("/graphql", json={"query": READ % (OURS, call_id(52))})

    extensions = [answer.json()["errors"][0]["extensions"] for answer in answers]
    assert extensions == [
        {"code": "FORBIDDEN", "argument": f"batch.{position}.end.projectId"} for position in (1, 1, 2, 0)
    ]
    assert found.json()["data"] == {"call": None}


async def test_batch_over_websocket_needs_the_writer_role(keyed: Keyed) -> None:
    answers = []
    async with socket(keyed, {"apiKey": keyed.keys["writer"]}) as opened:
        await opened.recv()
        for name, batch in (("ours", call_of(OURS, 53)), ("theirs", [call_of(OURS, 53)[0], call_of(THEIRS, 1)[1]])):
            payload = {"query": BATCH, "variables": {"batch": batch}}
            await opened.send(json.dumps({"id": name, "type": "subscribe", "payload": payload}))
            answers.append(json.loads(await opened.recv())["payload"])
            await opened.recv()

    assert answers[0]["data"] == {"callCreateBatch": {"res": [{"id": call_id(53)}] * 2}}
    assert answers[1]["errors"][0]["extensions"]["code"] == "FORBIDDEN"


@asynccontextmanager
async def socket(
    keyed: Keyed, payload: dict[str, Any] | None = None, **headers: str
) -> AsyncIterator[ClientConnection]:
    address = keyed.url.replace("http", "ws") + "/graphql"
    async with (
        asyncio.timeout(TIMEOUT),
        connect(address, subprotocols=[TRANSPORT], additional_headers=headers) as opened,
    ):
        await opened.send(json.dumps({"type": "connection_init", "payload": payload}))
        yield opened


async def test_websocket_authenticates_by_first_message_or_header(keyed: Keyed) -> None:
    key = keyed.keys["reader"]
    ways: list[tuple[dict[str, Any] | None, dict[str, str]]] = [
        ({"Authorization": f"Bearer {key}"}, {}),
        ({"authorization": basic("api", key)}, {}),
        ({"apiKey": key}, {}),
        (None, {"authorization": f"Bearer {key}"}),
    ]
    for payload, headers in ways:
        async with socket(keyed, payload, **headers) as opened:
            assert json.loads(await opened.recv()) == {"type": "connection_ack"}
            operation = {"id": "1", "type": "subscribe", "payload": {"query": READ % (OURS, CALL)}}
            await opened.send(json.dumps(operation))
            assert json.loads(await opened.recv())["payload"]["data"] == FOUND["data"]


@pytest.mark.parametrize("payload", [None, {}, {"apiKey": "x"}, {"apiKey": 5}, {"Authorization": "Bearer x"}])
async def test_websocket_without_credentials_is_closed(keyed: Keyed, payload: dict[str, Any] | None) -> None:
    async with socket(keyed, payload) as opened:
        with pytest.raises(ConnectionClosed) as closed:
            await opened.recv()

    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4401


async def test_websocket_with_a_wrong_header_is_not_opened(keyed: Keyed, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with socket(keyed, authorization="Bearer x"):
            pass

    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["www-authenticate"] == 'Bearer realm="LoomQL"'
    async with keyed.client("none") as client:
        await client.get("/healthz")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_unauthenticated_websocket_messages_are_limited_in_size(keyed: Keyed) -> None:
    address = keyed.url.replace("http", "ws") + "/graphql"
    async with asyncio.timeout(TIMEOUT), connect(address, subprotocols=[TRANSPORT]) as stranger:
        # The test sends only the head of a frame: the server closes the connection without waiting for the
        # announced bytes.
        stranger.transport.write(b"\x81\xff" + (500_000).to_bytes(8) + bytes(4))
        with pytest.raises(ConnectionClosed) as closed:
            await stranger.recv()
    async with socket(keyed, {"apiKey": keyed.keys["reader"]}) as opened:
        assert json.loads(await opened.recv()) == {"type": "connection_ack"}
        payload = {"query": READ % (OURS, CALL), "extensions": {"long": "x" * 500_000}}
        await opened.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        answer = json.loads(await opened.recv())

    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    assert answer["payload"]["data"] == FOUND["data"]


async def test_websocket_operation_before_the_init_gets_no_result(keyed: Keyed) -> None:
    address = keyed.url.replace("http", "ws") + "/graphql"
    async with asyncio.timeout(TIMEOUT), connect(address, subprotocols=[TRANSPORT]) as opened:
        await opened.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": READ % (OURS, CALL)}}))
        with pytest.raises(ConnectionClosed) as closed:
            await opened.recv()

    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4401


async def test_revoked_key_is_refused_once_the_revocation_returns(keyed: Keyed) -> None:
    made = await keyed.store.create([Grant(OURS, Role.READER)])
    before = await read(keyed, f"Bearer {made.text}")

    await keyed.store.revoke(made.key.id)
    after = await read(keyed, f"Bearer {made.text}")

    assert (before.status_code, after.status_code) == (200, 401)


MADE = f'mutation {{ objCreate(obj: {{projectId: "{OURS}", objectId: "late", val: 1}}) {{ digest }} }}'
LATE = {
    "/graphql": ("POST", "application/json", json.dumps({"query": MADE}).encode()),
    f"/files/{OURS}": ("PUT", "application/octet-stream", b"too late"),
    "/weave/obj/create": (
        "POST",
        "application/json",
        json.dumps({"obj": {"project_id": OURS, "object_id": "late", "val": 1}}).encode(),
    ),
    "/v1/traces": ("POST", "application/json", json.dumps({"resourceSpans": []}).encode()),
}


@pytest.mark.parametrize("path", LATE)
async def test_result_after_revocation_is_not_sent(keyed: Keyed, path: str) -> None:
    made = await keyed.store.create([Grant(OURS, Role.WRITER)])
    method, kind, body = LATE[path]
    left = [await keyed.database.objects.count_documents({}), await keyed.database.files.count_documents({})]

    async def in_two_parts() -> AsyncIterator[bytes]:
        yield body[:3]
        await keyed.store.revoke(made.key.id)
        yield body[3:]

    headers = {"authorization": f"Bearer {made.text}", "content-type": kind}
    async with httpx.AsyncClient(base_url=keyed.url, headers=headers, timeout=TIMEOUT) as client:
        answer = await client.request(method, path, content=in_two_parts())

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "message" in answer.text or "reason" in answer.text
    now = [await keyed.database.objects.count_documents({}), await keyed.database.files.count_documents({})]
    assert now == left


@pytest.fixture
async def unwatched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Disable the notification of connections about ended keys, which normally takes up to a quarter of a second."""
    has_started, is_over, has_ended = threading.Event(), threading.Event(), threading.Event()

    async def hang(_: KeyCache) -> None:
        has_started.set()
        while not is_over.is_set():  # noqa: ASYNC110 -- an event of threads, since the server is in one of its own
            await asyncio.sleep(0.01)
        has_ended.set()

    monkeypatch.setattr(KeyCache, "_watch", hang)
    await asyncio.sleep(3 * DEFAULT_TIMINGS.key_fresh_seconds)  # the watchers of other tests have ended by then
    yield
    is_over.set()
    assert has_started.is_set(), "the watcher of a test before was still there"
    assert await asyncio.to_thread(has_ended.wait, TIMEOUT)  # the server is shared with other tests


@pytest.mark.usefixtures("unwatched")
async def test_revoked_key_cannot_run_operations_on_an_open_websocket(keyed: Keyed) -> None:
    made = await keyed.store.create([Grant(OURS, Role.READER)])
    async with asyncio.timeout(TIMEOUT), socket(keyed, {"apiKey": made.text}) as opened:
        assert json.loads(await opened.recv()) == {"type": "connection_ack"}
        await keyed.store.revoke(made.key.id)

        await opened.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": READ % (OURS, CALL)}}))
        message = json.loads(await opened.recv())

    assert (message["id"], message["type"]) == ("1", "error")
    assert message["payload"][0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.usefixtures("unwatched")
async def test_revocation_ends_the_stream_before_later_events(keyed: Keyed) -> None:
    made = await keyed.store.create([Grant(OURS, Role.READER)])
    header, calls = {"authorization": f"Bearer {made.text}"}, Stores(keyed.database).calls
    watch = f'subscription {{ callEvents(projectId: "{OURS}") {{ call {{ id }} }} }}'
    async with (
        httpx.AsyncClient(base_url=keyed.url, headers=header, timeout=TIMEOUT) as client,
        streaming(client, watch) as events,
    ):
        await first_of(events, calls, OURS)
        await keyed.store.revoke(made.key.id)
        assert (await read(keyed, header["authorization"])).status_code == 401

        await calls.write([start(1_000, project_id=OURS)])
        received = [event async for event in events]

    assert received[-1] == Event("complete")
    assert received[-2].result["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    assert not any(call_id(1_000) in event.data for event in received)


async def test_rotated_key_works_during_grace_and_new_key_after_it(keyed: Keyed) -> None:
    old = await keyed.store.create([Grant(OURS, Role.READER)])

    new = await keyed.store.rotate(old.key.id, grace_seconds=3_600)
    last = await keyed.store.rotate(new.key.id)

    statuses = [(await read(keyed, f"Bearer {made.text}")).status_code for made in (old, new, last)]
    assert statuses == [200, 401, 200]
    assert last.key.grants == old.key.grants


async def test_streams_end_when_their_key_does(keyed: Keyed) -> None:
    made = await keyed.store.create([Grant(OURS, Role.READER)])
    header = {"authorization": f"Bearer {made.text}"}
    options = {"json": {"query": WATCH % OURS}, "headers": header | {"accept": "text/event-stream"}}
    async with (
        asyncio.timeout(TIMEOUT),
        httpx.AsyncClient(base_url=keyed.url, timeout=TIMEOUT) as client,
        client.stream("POST", "/graphql", **options) as response,  # type: ignore[arg-type] # a dict of either
        socket(keyed, {"apiKey": made.text}) as opened,
    ):
        assert response.status_code == 200
        assert json.loads(await opened.recv()) == {"type": "connection_ack"}
        await opened.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": WATCH % OURS}}))

        await keyed.store.revoke(made.key.id)

        events = [event async for event in events_of(response) if event.kind != "comment"]
        with pytest.raises(ConnectionClosed) as closed:
            await opened.recv()
    assert events[-1] == Event("complete")
    assert events[-2].result["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4401


async def test_stream_ends_when_its_key_expires(keyed: Keyed) -> None:
    made = await keyed.store.create([Grant(OURS, Role.READER)], expires_at=times.now() + 2_500_000)

    async with socket(keyed, {"apiKey": made.text}) as opened:
        assert json.loads(await opened.recv()) == {"type": "connection_ack"}
        with pytest.raises(ConnectionClosed) as closed:
            await opened.recv()

    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4401


async def test_files_need_the_required_role(keyed: Keyed) -> None:
    async with keyed.client("writer") as writer, keyed.client("reader") as reader, keyed.client("none") as nobody:
        put = await writer.put(f"/files/{OURS}", content=b"hello")
        url = put.json()["url"]
        elsewhere = f"/files/{THEIRS}/{put.json()['digest']}"
        answers = [
            await reader.get(url),
            await reader.put(f"/files/{OURS}", content=b"hello"),
            await reader.get(elsewhere),
            await nobody.get(url),
        ]

    assert put.status_code == 201
    assert [answer.status_code for answer in answers] == [200, 403, 403, 401]


async def test_exports_need_the_required_role(keyed: Keyed) -> None:
    async with keyed.client("reader") as reader, keyed.client("none") as nobody:
        ours, theirs, both = [
            await reader.get(f"/export/calls?{query}")
            for query in (f"projectId={OURS}", f"projectId={THEIRS}", f"projectId={OURS}&projectId={THEIRS}")
        ]
        refused = await nobody.get(f"/export/calls?projectId={OURS}")

    assert ours.status_code == 200
    assert json.loads(ours.text.splitlines()[0])["id"] == CALL
    assert [answer.status_code for answer in (theirs, both, refused)] == [403, 403, 401]


async def test_one_key_cannot_use_all_export_slots(keyed: Keyed) -> None:
    path = f"/export/calls?projectId={OURS}&format=parquet"
    async with keyed.client("reader") as reader, keyed.client("writer") as writer:
        mine = [asyncio.create_task(reader.get(path)) for _ in range(2)]
        theirs = await writer.get(path)
        taken, refused = sorted([await each for each in mine], key=lambda answer: answer.status_code)

    assert [answer.status_code for answer in (taken, refused, theirs)] == [200, 429, 200]
    assert refused.headers["retry-after"] == "1"
    assert "LOOMQL_MAX_EXPORTS" in refused.json()["errors"][0]["message"]


@pytest.mark.parametrize("signal", [TRACES, LOGS], ids=["spans", "logs"])
async def test_export_over_http_needs_the_writer_role(signal: Signal, keyed: Keyed) -> None:
    path = PATHS[signal]
    mixed = body_of(signal, resource={"wandb.entity": "rival", "wandb.project": "chat"})
    ours = body_of(signal, resource={"wandb.entity": "acme", "wandb.project": "chat"})
    kind = {"content-type": "application/x-protobuf"}
    async with keyed.client("writer") as writer, keyed.client("reader") as reader, keyed.client("none") as nobody:
        named = kind | {"project_id": THEIRS}
        statuses = [
            (await writer.post(path, content=ours, headers=kind)).status_code,
            (await writer.post(path, content=mixed, headers=kind)).status_code,
            (await writer.post(path, content=mixed, headers=kind | {"project_id": OURS})).status_code,
            (await writer.post(path, content=body_of(signal), headers=named)).status_code,
            (await reader.post(path, content=ours, headers=kind)).status_code,
            (await nobody.post(path, content=ours, headers=kind)).status_code,
        ]
        # Protobuf messages can be concatenated.
        partly = await writer.post(path, content=ours + mixed, headers=kind)

    assert statuses == [200, 403, 403, 403, 403, 401]
    assert partly.status_code == 200
    assert b"rival/chat" in partly.content
    assert await keyed.database.calls.count_documents({"project_id": THEIRS}) == 1


async def test_weave_api_accepts_what_its_sdk_sends(keyed: Keyed) -> None:
    body = {"project_id": OURS, "id": CALL}
    async with httpx.AsyncClient(
        base_url=f"{keyed.url}/weave", auth=("api", keyed.keys["reader"]), timeout=TIMEOUT
    ) as client:
        ours = await client.post("/call/read", json=body)
        theirs = await client.post("/call/read", json=body | {"project_id": THEIRS})
        refused = await client.post("/call/read", json=body, auth=("api", "x"))

    assert ours.json()["call"]["id"] == CALL
    assert theirs.status_code == 403
    assert (refused.status_code, list(refused.json())) == (401, ["reason"])


async def test_spans_and_logs_over_grpc_share_a_rate_limit(
    mongodb_uri: str, database: Database, database_name: str
) -> None:
    keys = [(await KeysStore(database, settle_seconds=0).create([Grant(OURS, Role.WRITER)])).text for _ in range(2)]
    port = free_port()
    # This rate adds one token in a quarter of an hour, so the bucket gets none while the test runs.
    limits: dict[str, Any] = {"rate_limit": 0.001, "rate_burst": 2}
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, otlp_grpc_port=port, **limits)
    codes = []
    with live_server(create_app(settings), lifespan="on"):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for key in keys:
                for signal in (TRACES, LOGS, TRACES, LOGS):
                    export: Any = channel.unary_unary(f"/{signal.service}/Export")
                    call = export(body_of(signal), metadata=(("project_id", OURS), ("authorization", f"Bearer {key}")))
                    codes.append(await call.code())
                    if codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED:
                        status = Status.FromString(dict(await call.trailing_metadata())["grpc-status-details-bin"])

    full = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.OK, full, full] * 2
    [retry] = [RetryInfo.FromString(detail.value) for detail in status.details]
    assert retry.retry_delay.seconds > 900
    assert await database.calls.count_documents({}) == 2


@pytest.mark.parametrize("signal", [TRACES, LOGS], ids=["spans", "logs"])
async def test_export_over_grpc_needs_the_writer_role(
    signal: Signal, mongodb_uri: str, database: Database, database_name: str
) -> None:
    text = (await KeysStore(database, settle_seconds=0).create([Grant(OURS, Role.WRITER)])).text
    port = free_port()
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, otlp_grpc_port=port)
    codes = []
    with live_server(create_app(settings), lifespan="on"):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            export: Any = channel.unary_unary(f"/{signal.service}/Export")
            for project_id, authorization in ((OURS, f"Bearer {text}"), (THEIRS, f"Bearer {text}"), (OURS, "Bearer x")):
                call = export(body_of(signal), metadata=(("project_id", project_id), ("authorization", authorization)))
                codes.append(await call.code())

    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED]
    assert await database.calls.distinct("project_id") == [OURS]


async def test_server_is_open_until_there_is_a_first_key(
    mongodb_uri: str, database: Database, database_name: str
) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", auth=("api", "k" * 40), timeout=TIMEOUT) as client:
            # The Weave SDK always sends a key, so a server without keys must accept any.
            query = {"query": READ % (OURS, CALL)}
            before = await client.post("/graphql", json=query)
            async with connect(f"ws://{host}/graphql", subprotocols=[TRANSPORT]) as opened:
                await opened.send('{"type": "connection_init"}')
                assert json.loads(await opened.recv()) == {"type": "connection_ack"}

                made = await KeysStore(database).create([Grant("*", Role.READER)])

                with pytest.raises(ConnectionClosed) as closed:
                    await opened.recv()
            after = await client.post("/graphql", json=query)
            with_key = await client.post("/graphql", json=query, auth=("api", made.text))
            await KeysStore(database).revoke(made.key.id)
            without_any = await client.post("/graphql", json=query)

    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4401
    assert [each.status_code for each in (before, after, with_key, without_any)] == [200, 401, 200, 401]


async def test_keys_can_be_required_always_and_never(mongodb_uri: str, database: Database, database_name: str) -> None:
    query = {"query": READ % (OURS, CALL)}
    statuses = {}
    ways: list[tuple[Literal["required", "off"], bool]] = [("required", False), ("off", True)]
    for demand, makes_key in ways:
        if makes_key:
            await KeysStore(database, settle_seconds=0).create([Grant("*", Role.READER)])
        settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, keys=demand)
        with live_server(create_app(settings), lifespan="on") as host:
            async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
                statuses[demand] = (await client.post("/graphql", json=query)).status_code

    assert statuses == {"required": 401, "off": 200}


async def test_every_endpoint_names_the_command_for_the_first_key(
    mongodb_uri: str, database: Database, database_name: str
) -> None:
    port = free_port()
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, keys="required", otlp_grpc_port=port)
    spans, protobuf = body(span()), {"content-type": "application/x-protobuf"}
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            by_http = await client.post("/graphql", json={"query": "{ __typename }"})
            by_otlp = await client.post("/v1/traces", content=spans, headers=protobuf)
            by_weave = await client.post("/weave/call/read", json={"project_id": OURS, "id": "x"}, auth=("api", "k"))
            async with connect(f"ws://{host}/graphql", subprotocols=[TRANSPORT]) as opened:
                await opened.send('{"type": "connection_init"}')
                with pytest.raises(ConnectionClosed) as closed:
                    await opened.recv()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                export: Any = channel.unary_unary(f"/{TRACES.service}/Export")
                with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
                    await export(spans)
            await KeysStore(database).create([Grant("*", Role.READER)])
            later = await client.post("/graphql", json={"query": "{ __typename }"})

    message = "no key exists yet; create the first one on the server: loomql key create --project '*' --role admin"
    assert [answer.status_code for answer in (by_http, by_otlp, by_weave)] == [401, 401, 401]
    assert by_http.json()["errors"][0]["message"] == message
    assert Status.FromString(by_otlp.content).message == message
    assert by_weave.json() == {"reason": message}
    assert closed.value.rcvd
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, message)
    assert over_grpc.value.details() == message
    assert later.json()["errors"][0]["message"].startswith("send a key that is neither revoked nor expired")
    command = message.partition("loomql ")[2]
    assert parser().parse_args(shlex.split(command)).project == ["*"]


async def test_server_without_its_database_accepts_no_credentials() -> None:
    settings = Settings(mongodb_uri="mongodb://127.0.0.1:1/", database_timeout_seconds=0.2)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            answer = await client.post("/graphql", json={"query": "{ __typename }"})
            health = await client.get("/healthz")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"ws://{host}/graphql", additional_headers={"authorization": "Bearer x"}):
                pass

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert refused.value.response.status_code == 503
    assert health.status_code == 200


async def test_health_is_answered_while_the_database_hangs() -> None:
    with socket_module.create_server(("127.0.0.1", 0)) as silent:
        uri = f"mongodb://127.0.0.1:{silent.getsockname()[1]}/?directConnection=true"
        settings = Settings(mongodb_uri=uri, database_timeout_seconds=5)
        with live_server(create_app(settings), lifespan="on") as host:
            async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
                waiting = asyncio.ensure_future(client.post("/graphql", json={"query": "{ __typename }"}))
                await asyncio.sleep(0.1)
                health = await client.get("/healthz")
                still_waiting = not waiting.done()
                answer = await waiting

    assert (health.status_code, still_waiting, answer.status_code) == (200, True, 503)


async def test_cached_keys_need_no_command_per_request(keyed: Keyed) -> None:
    async with keyed.client("reader") as client:
        query = {"query": "{ __typename }"}

        async def reads() -> int:
            count = 0
            database = keyed.database.calls.database
            for name in await database.list_collection_names():
                async for row in database[name].aggregate([{"$collStats": {"latencyStats": {}}}]):
                    count += row["latencyStats"]["reads"]["ops"]
            return count

        before = await reads()
        answers = [await client.post("/graphql", json=query) for _ in range(400)]
        made = await reads() - before

    assert {answer.status_code for answer in answers} == {200}
    # At most four reads a second, plus the reads of the server's background tasks.
    assert made < 200


async def test_many_wrong_keys_at_once_are_all_refused(keyed: Keyed) -> None:
    answers = await asyncio.gather(*(read(keyed, f"Bearer loomql_{n:016x}_{n:064x}") for n in range(40)))

    assert {answer.status_code for answer in answers} == {401}


async def test_database_stores_no_key_text(keyed: Keyed) -> None:
    text = keyed.keys["operator"]
    found = [document async for document in keyed.database.api_keys.find()]

    assert found
    assert text.rpartition("_")[2] not in repr(found)


async def test_reader_is_refused_over_grpc_before_the_message(keyed: Keyed) -> None:
    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with grpc.aio.insecure_channel(keyed.grpc_address) as channel, asyncio.timeout(TIMEOUT):
        export: Any = channel.stream_unary(f"/{TRACES.service}/Export")
        nowhere = export(never(), metadata=(("authorization", f"Bearer {keyed.keys['reader']}"),))
        metadata = (("project_id", THEIRS), ("authorization", f"Bearer {keyed.keys['writer']}"))
        elsewhere = export(never(), metadata=metadata)
        codes = [await nowhere.code(), await elsewhere.code()]

    assert codes == [grpc.StatusCode.PERMISSION_DENIED] * 2


async def test_spans_over_grpc_after_revocation_are_not_stored(keyed: Keyed) -> None:
    made = await keyed.store.create([Grant(OURS, Role.WRITER)])
    before = await keyed.database.calls.count_documents({})

    async def late() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.2)  # the metadata that authenticates the caller is sent first
        await keyed.store.revoke(made.key.id)
        yield body(span(77))

    async with grpc.aio.insecure_channel(keyed.grpc_address) as channel:
        export: Any = channel.stream_unary(f"/{TRACES.service}/Export")
        call = export(late(), metadata=(("project_id", OURS), ("authorization", f"Bearer {made.text}")))
        code = await call.code()

    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert await keyed.database.calls.count_documents({}) == before
