"""Tests of the whole service on a real server and a real mongod, also while the database is unreachable."""

import asyncio
import json
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from app.build_hook import FOLDER
from app.commands import server
from app.embedded_mongod import DataFolder, embedded_mongod
from app.pages import EXPLORER, GRAPHIQL, Page
from app.server import application
from app.server.application import create_app
from app.server.health import Readiness
from app.settings import Settings
from stores.calls import CallsStore
from stores.database import Database
from tests.app.event_stream import all_of
from tests.installation import ROOT
from tests.live_server import live_server
from tests.stores.calls.builders import start
from tests.waiting import TIMEOUT

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
CALLS = '{ calls(projectId: "acme/none") { totalCount nodes { id } } }'


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            yield client


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve pages whose scripts do nothing, because a checkout may have no bundles."""
    for page in (EXPLORER, GRAPHIQL):
        assets = tmp_path / page.name / page.name
        assets.mkdir(parents=True)
        (assets / "index.js").write_text("start")
        source = ROOT / FOLDER / page.name / "index.html"
        (tmp_path / page.name / "index.html").write_text(source.read_text())
        monkeypatch.setattr(application, page.name.upper(), Page(page.name, page.title, {}, tmp_path))


def links_of(html: str) -> dict[str, str]:
    """Return the addresses of other pages that a page has from the server, by name."""
    return dict(re.findall(r'<meta name="loomql-([a-z]+)" content="([^"]+)"', html))


@pytest.fixture
async def client(mongodb_uri: str, database_name: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_body_bytes=5000)
    async with running(settings) as client:
        yield client


async def test_service_is_up_ready_and_answers_queries(client: httpx.AsyncClient) -> None:
    health = await client.get("/healthz")
    ready = await client.get("/readyz")
    answer = await client.post("/graphql", json={"query": CALLS})

    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    assert answer.json()["data"] == {"calls": {"totalCount": 0, "nodes": []}}


async def test_indexes_are_there_before_the_first_request(
    client: httpx.AsyncClient, mongodb_uri: str, database_name: str
) -> None:
    assert (await client.get("/healthz")).status_code == 200

    database = Database.open(mongodb_uri, database_name)
    names = set(await database.calls.index_information())
    database.close()

    assert len(names) > 1


@pytest.mark.usefixtures("bundles")
async def test_root_is_the_explorer(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, keys="required")
    async with running(settings) as client:
        home = await client.get("/", headers=BROWSER)
        asset = await client.get("/explorer/index.js")

    assert (home.status_code, asset.status_code) == (200, 200)
    assert home.headers["content-type"].startswith("text/html")
    assert links_of(home.text) == {"docs": "docs", "graphiql": "graphql"}
    assert asset.text == "start"


@pytest.mark.usefixtures("bundles")
async def test_without_the_explorer_root_redirects_a_browser_to_graphiql(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, explorer=False)
    async with running(settings) as client:
        home = await client.get("/", headers=BROWSER)
        page = await client.get("/", headers=BROWSER, follow_redirects=True)
        asset = await client.get("/explorer/index.js")

    assert (home.status_code, home.headers["location"]) == (307, "graphql")
    assert page.url.path == "/graphql"
    assert page.headers["content-type"].startswith("text/html")
    assert links_of(page.text) == {"docs": "docs"}
    assert asset.status_code == 404


@pytest.mark.usefixtures("bundles")
@pytest.mark.parametrize("is_strict", [True, False])
async def test_explorer_knows_whether_the_server_runs_only_trusted_documents(
    mongodb_uri: str, database_name: str, *, is_strict: bool
) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, only_trusted_documents=is_strict)
    async with running(settings) as client:
        page = await client.get("/", headers=BROWSER)

    assert ('<meta name="loomql-only-trusted" content="" />' in page.text) is is_strict


async def test_unknown_path_names_the_api_path(client: httpx.AsyncClient) -> None:
    elsewhere = await client.post("/api/graphql", json={"query": "{ __typename }"})

    assert elsewhere.status_code == 404
    assert elsewhere.text == "/api/graphql does not exist; GraphQL is at /graphql.\n"


async def over_http(client: httpx.AsyncClient, query: str) -> bytes:
    return (await client.post("/graphql", json={"query": query})).content


async def over_websocket(client: httpx.AsyncClient, query: str) -> bytes:
    url = f"ws://{client.base_url.netloc.decode()}/graphql"
    async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as websocket:
        await websocket.send('{"type": "connection_init"}')
        await websocket.recv()
        await websocket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}}))
        message = await websocket.recv(decode=False)
    return message.removeprefix(b'{"id":"1","type":"next","payload":').removesuffix(b"}")


async def over_events(client: httpx.AsyncClient, query: str) -> bytes:
    [answer, _complete] = await all_of(client, query)
    return answer.data.encode()


READ = '{ call(projectId: "acme/none", id: "0123456789abcdef") { inputs } }'


@pytest.fixture
async def log(client: httpx.AsyncClient) -> Callable[[object], Awaitable[None]]:
    async def log(inputs: object) -> None:
        start = {
            "projectId": "acme/none",
            "id": "0123456789abcdef",
            "opName": "greet",
            "startedAt": "2026-01-02T03:04:05Z",
            "attributes": {},
            "inputs": inputs,
        }
        query = "mutation ($start: StartedCallSchemaForInsert!) { callStart(start: $start) { id } }"
        answer = await client.post("/graphql", json={"query": query, "variables": {"start": start}})
        assert answer.json()["data"] == {"callStart": {"id": "0123456789abcdef"}}

    return log


@pytest.mark.parametrize("ask", [over_http, over_websocket, over_events])
async def test_json_is_returned_as_sent(
    client: httpx.AsyncClient,
    log: Callable[[object], Awaitable[None]],
    ask: Callable[[httpx.AsyncClient, str], Awaitable[bytes]],
) -> None:
    await log({"z": 2**70, "a": [1.5, None, "ü"], "$key.with": {}})

    answer = await ask(client, READ)

    assert answer.startswith('{"data":{"call":{"inputs":{"z":%d,"a":[1.5,null,"ü"],"$key.with":{}}}}'.encode() % 2**70)
    assert answer.endswith(b'},"extensions":{"cost":{"requested":12,"limit":250000}}}')


@pytest.mark.parametrize("ask", [over_http, over_websocket, over_events])
async def test_stored_json_text_is_sent_without_parsing(
    client: httpx.AsyncClient,
    log: Callable[[object], Awaitable[None]],
    ask: Callable[[httpx.AsyncClient, str], Awaitable[bytes]],
    database: Database,
) -> None:
    text = '{"n":[1e2, 1.50,12345678901234567890123],"n":"\\u00fc"}'
    await log({})
    await database.calls.update_one({"id": "0123456789abcdef"}, {"$set": {"json.inputs": text}})

    answer = await ask(client, READ)

    assert answer.startswith(f'{{"data":{{"call":{{"inputs":{text}}}}},"extensions":'.encode())


async def test_graphiql_can_be_left_out(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, graphiql=False)
    async with running(settings) as client:
        answer = await client.get("/graphql", params={"query": "{ __typename }"}, headers=BROWSER)
        asset = await client.get("/graphiql/anything.js")

    assert answer.json()["data"] == {"__typename": "Query"}
    assert asset.status_code == 404


@pytest.mark.usefixtures("bundles")
async def test_documentation_needs_no_key(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, keys="required")
    async with running(settings) as client:
        page = await client.get("/docs")
        graphiql_page = await client.get("/graphql", headers=BROWSER)

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert links_of(graphiql_page.text) == {"docs": "docs", "explorer": "./"}


@pytest.mark.usefixtures("bundles")
async def test_documentation_can_be_left_out(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, docs=False)
    async with running(settings) as client:
        answers = [await client.get(path) for path in ("/docs", "/docs/style.css")]
        pages = [await client.get(path, headers=BROWSER) for path in ("/", "/graphql")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert [links_of(page.text) for page in pages] == [{"graphiql": "graphql"}, {"explorer": "./"}]


async def test_settings_limit_documents_and_bodies(mongodb_uri: str, database_name: str) -> None:
    settings = Settings(
        mongodb_uri=mongodb_uri,
        mongodb_database=database_name,
        max_query_depth=2,
        max_query_aliases=1,
        max_query_tokens=100,
        max_input_values=1000,
        max_page_size=7,
        max_body_bytes=10_000,
    )
    requests = {
        "LOOMQL_MAX_QUERY_DEPTH": '{ calls(projectId: "a/b") { edges { node { id } } } }',
        "LOOMQL_MAX_QUERY_ALIASES": "{ a: __typename b: __typename }",
        "LOOMQL_MAX_QUERY_TOKENS": "{ " + "__typename " * 100 + "}",
        "LOOMQL_MAX_INPUT_VALUES": "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename } }",
        "LOOMQL_MAX_BODY_BYTES": "#" * 10_000,
        "7": '{ calls(projectId: "a/b", first: 8) { totalCount } }',
    }
    async with running(settings) as client:
        answers = {
            words: (await client.post("/graphql", json={"query": query, "variables": {"ids": [""] * 1001}})).json()
            for words, query in requests.items()
        }

    for words, answer in answers.items():
        assert words in answer["errors"][0]["message"]


async def test_too_large_body_is_refused_over_a_real_connection(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    headers = {"content-type": "application/json"}
    announced = await client.post("/graphql", content=b" " * 10_000_000, headers=headers)
    streamed = await client.post("/graphql", content=chunks(), headers=headers)
    after = await client.post("/graphql", json={"query": "{ __typename }"})

    assert [announced.status_code, streamed.status_code, after.status_code] == [413, 413, 200]


def test_without_a_database_the_error_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOMQL_MONGODB_URI", raising=False)

    with pytest.raises(ValueError, match="LOOMQL_MONGODB_URI"):
        create_app()


async def test_settings_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, mongodb_uri: str, database_name: str
) -> None:
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", database_name)

    with live_server(create_app(), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            assert (await client.get("/readyz")).json() == {"status": "ok"}


async def test_server_starts_without_its_database_and_works_when_it_returns() -> None:
    with TemporaryDirectory(prefix="loomql-") as name:
        folder = Path(name)
        with embedded_mongod(folder, cache_gb=0.25) as uri:
            assert uri == DataFolder(folder).uri
        settings = Settings(mongodb_uri=uri, database_timeout_seconds=3)  # a busy machine needs more than one second

        async with running(settings) as client:
            health = await client.get("/healthz")
            away = await client.get("/readyz")
            started = time.monotonic()
            unavailable = await client.post("/graphql", json={"query": CALLS})
            waited = time.monotonic() - started
            with embedded_mongod(folder, cache_gb=0.25):
                assert await becomes_ready(client)
                answer = await client.post("/graphql", json={"query": CALLS})
            gone = await client.get("/readyz")

    assert health.status_code == 200
    assert away.status_code == 503
    assert away.json() == {"status": "unavailable", "reason": "the database did not answer within 3 s"}
    assert [error["extensions"]["code"] for error in unavailable.json()["errors"]] == ["UNAVAILABLE"]
    assert waited < 10
    assert answer.json()["data"] == {"calls": {"totalCount": 0, "nodes": []}}
    assert gone.status_code == 503


async def becomes_ready(client: httpx.AsyncClient) -> bool:
    for _ in range(100):
        if (await client.get("/readyz")).status_code == 200:
            return True
        await asyncio.sleep(0.1)
    return False


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Yield the URI of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"mongodb://127.0.0.1:{listener.getsockname()[1]}/?directConnection=true"


async def test_hanging_database_is_not_ready(silent_server: str) -> None:
    database = Database.open(silent_server, "loomql", timeout_seconds=30)

    reason = await Readiness(database, timeout_seconds=0.2).check()
    database.close()

    assert reason == "the database did not answer within 0.2 s"


async def test_refusing_database_is_not_ready_and_is_logged_once(
    mongodb_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    socket_path = urlsplit(mongodb_uri).netloc
    database = Database.open(f"mongodb://nobody:wrong@{socket_path}/?directConnection=true", "loomql", 5)
    readiness = Readiness(database, timeout_seconds=5)

    with caplog.at_level(logging.ERROR, "loomql"):
        reasons = [await readiness.check() for _ in range(2)]
    database.close()

    assert reasons == ["the database returned an error; see the server's log"] * 2
    (record,) = [record for record in caplog.records if record.name == "loomql"]
    assert record.getMessage() == "the database returned an error: Authentication failed."
    assert record.exc_info is None


async def test_database_of_an_older_version_is_migrated(database: Database) -> None:
    # given
    await CallsStore(database).write([start(number, project_id=f"acme/p{number}") for number in range(3)])
    await database.projects.drop()
    await database.calls.create_index([("trace_id", 1)], name="trace_id_started_at_id")
    await database.calls.create_index([("op_name", 1)], name="somebody's own")
    # when
    readiness = Readiness(database, timeout_seconds=5)
    await readiness.prepare()
    # then
    assert readiness.not_ready_reason is None
    assert await database.projects.distinct("_id") == ["acme/p0", "acme/p1", "acme/p2"]
    assert len(await database.projects.index_information()) == 4
    built = await database.calls.index_information()
    assert "trace_id_started_at_id" not in built
    assert "somebody's own" in built


async def test_unresolvable_address_is_not_ready_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database.open("mongodb+srv://user:secret@nowhere.invalid/", "loomql", 5)
    readiness = Readiness(database, timeout_seconds=30)

    with caplog.at_level(logging.ERROR, "loomql"):
        reasons = [await readiness.check() for _ in range(2)]
    database.close()

    assert reasons == ["LOOMQL_MONGODB_URI does not lead to a MongoDB server; see the server's log"] * 2
    (record,) = [record for record in caplog.records if record.name == "loomql"]
    assert record.getMessage().startswith("LOOMQL_MONGODB_URI does not lead to a MongoDB server: ")
    assert "\n" not in record.getMessage()
    assert "secret" not in record.getMessage()
    assert record.exc_info is None


def test_worker_has_time_to_import_before_the_health_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[uvicorn.Config] = []

    class Workers:
        def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
            assert len(sockets) == 1
            made.append(config)

        def run(self) -> None:
            pass

    monkeypatch.setattr(server, "WorkerSupervisor", Workers)
    with socket.socket() as listener:
        server._run(Settings(workers=2), listener)

    # By default uvicorn kills a worker that does not answer for 5 s. Its replacement would take as long to import.
    assert [config.timeout_worker_healthcheck for config in made] == [60]
