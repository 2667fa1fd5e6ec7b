"""Tests of GraphQL requests with files on a real server: accepted forms and refusals."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import httpx
import pytest

from app.graphql_http import multipart
from app.server.application import create_app
from app.settings import Settings
from stores.database import Database
from stores.files.uploads import CHUNK_BYTES
from tests.app.conftest import SharedServer
from tests.app.observability.samples import read_samples, sample
from tests.live_server import live_server
from tests.stores.files.streams import stored_counts
from tests.waiting import TIMEOUT, until_found

HELLO = "LPJNulXwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
PREFLIGHT = {"Apollo-Require-Preflight": "true"}
CREATE = 'mutation ($file: Upload!) { fileCreate(projectId: "acme/files", upload: $file) { digest } }'
OPERATION = {"query": CREATE, "variables": {"file": None}}
MAP = {"0": ["variables.file"]}
LARGE = random.Random(3).randbytes(5 * CHUNK_BYTES)
LIMIT = 3_000_000

pytestmark = pytest.mark.server_settings(max_file_bytes=LIMIT, max_body_bytes=100_000)


@pytest.fixture
def database_name(shared_server: SharedServer) -> str:
    """Return the name of the shared server's database, for servers with other settings, too."""
    return shared_server.database_name


@pytest.fixture
async def client(shared_server: SharedServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{shared_server.host}", timeout=TIMEOUT) as client:
        yield client


def part(name: str, content: bytes, file_name: str | None = None) -> bytes:
    parameter = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"{parameter}\r\nContent-Type: text/html\r\n\r\n'
    return head.encode() + content + b"\r\n"


def body(*parts: bytes, end: bytes = b"--edge--\r\n") -> bytes:
    return b"".join(parts) + end


def fields(operations: object = OPERATION, places: object = MAP) -> tuple[bytes, bytes]:
    return part("operations", json.dumps(operations).encode()), part("map", json.dumps(places).encode())


async def send(
    client: httpx.AsyncClient, content: bytes, headers: Mapping[str, str] = PREFLIGHT, boundary: str = "edge"
) -> httpx.Response:
    kind = {"content-type": f"multipart/form-data; boundary={boundary}", "accept": "application/json"}
    return await client.post("/graphql", content=content, headers={**kind, **headers})


async def test_file_is_uploaded_with_its_operation(client: httpx.AsyncClient) -> None:
    answer = await send(client, body(*fields(), part("0", b"hello", "a%22b.txt")))
    query = f'{{ file(projectId: "acme/files", digest: "{HELLO}") {{ name content contentType }} }}'
    read = await client.post("/graphql", json={"query": query})

    assert answer.json()["data"] == {"fileCreate": {"digest": HELLO}}
    assert read.json()["data"]["file"] == {
        "name": 'a"b.txt',
        "content": "aGVsbG8=",
        "contentType": "text/plain; charset=utf-8",
    }


@pytest.mark.parametrize("header", multipart.PREFLIGHT_HEADERS)
async def test_any_client_of_the_multipart_spec_can_upload(client: httpx.AsyncClient, header: str) -> None:
    form = {"operations": json.dumps(OPERATION), "map": json.dumps(MAP)}
    files = {"0": ("large.bin", LARGE, "application/octet-stream")}

    answer = await client.post("/graphql", data=form, files=files, headers={header: "x"})

    digest = answer.json()["data"]["fileCreate"]["digest"]
    assert (await client.get(f"/files/acme/files/{digest}")).content == LARGE


async def test_files_in_lists_and_several_variables_are_accepted(client: httpx.AsyncClient) -> None:
    query = """
        mutation ($a: Upload!, $b: Upload!, $again: Upload!) {
            a: fileCreate(projectId: "acme/files", upload: $a) { digest }
            b: fileCreate(projectId: "acme/files", upload: $b) { digest }
            again: fileCreate(projectId: "acme/others", upload: $again) { digest }
        }
    """
    operations = {"query": query, "variables": {"a": None, "b": None, "again": None}}
    places = {"x": ["variables.a", "variables.again"], "y": ["variables.b"]}

    answer = await send(client, body(*fields(operations, places), part("y", LARGE, "y"), part("x", b"hello", "x")))

    data = answer.json()["data"]
    assert data["a"]["digest"] == data["again"]["digest"] == HELLO
    assert (await client.get(f"/files/acme/files/{data['b']['digest']}")).content == LARGE
    assert (await client.get(f"/files/acme/others/{HELLO}")).content == b"hello"


@pytest.mark.parametrize("content", [b"", b"\r\n--edg", b"\r\n", b"--edge--", LARGE], ids=range(5))
async def test_content_that_contains_a_boundary_is_accepted(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await send(client, body(*fields(), part("0", content, "x")))

    url = f"/files/acme/files/{answer.json()['data']['fileCreate']['digest']}"
    assert (await client.get(url)).content == content


async def test_body_sent_byte_by_byte_is_accepted(client: httpx.AsyncClient) -> None:
    content = body(*fields(), part("0", b"hello", "x"))

    async def stream() -> AsyncIterator[bytes]:
        for byte in content:
            yield bytes([byte])

    kind = {"content-type": 'multipart/form-data; boundary="edge"'}
    answer = await client.post("/graphql", content=stream(), headers={**kind, **PREFLIGHT})

    assert answer.json()["data"] == {"fileCreate": {"digest": HELLO}}


@pytest.mark.parametrize("headers", [{}, {"Apollo-Require-Preflight": ""}, {"X-Other": "1"}])
async def test_cross_site_form_is_refused(
    client: httpx.AsyncClient, database: Database, headers: dict[str, str]
) -> None:
    answer = await send(client, body(*fields(), part("0", b"hello", "x")), headers)

    assert_refused(answer, 400, "BAD_USER_INPUT", "Apollo-Require-Preflight")
    assert await stored_counts(database) == (0, 0, 0)


def assert_refused(answer: httpx.Response, status: int, code: str, words: str) -> None:
    [error] = answer.json()["errors"]
    assert answer.status_code == status
    assert error["extensions"]["code"] == code
    assert words in error["message"]


def bad_bodies() -> Iterator[tuple[str, bytes]]:
    hello = part("0", b"hello", "x")
    operations, places = fields()
    yield "in this order", body(hello, operations, places)
    yield "in this order", body(places, operations, hello)
    yield "in this order", body(operations, hello)
    yield "in this order", body(operations)
    yield "in this order", body(end=b"--edge--\r\n")
    yield "are missing: '0'", body(operations, places)
    yield "the body has the file", body(operations, places, hello, hello)
    yield "does not name the file '1'", body(operations, places, hello, part("1", b"", "x"))
    yield "does not name the file 'operations'", body(operations, places, operations)
    yield "last boundary", body(operations, places, hello, end=b"")
    yield "is not multipart/form-data", b"hello"
    yield "is not multipart/form-data", b'{"query": "{ __typename }"}'
    yield "operations cannot be read", body(part("operations", b"{"), places, hello)
    yield "operations must be a JSON object", body(*fields([OPERATION]), hello)
    yield "map must be a JSON object", body(*fields(places=[]), hello)
    yield "a list of paths", body(*fields(places={"0": "variables.file"}), hello)
    yield "a list of paths", body(*fields(places={"0": []}), hello)
    yield "a list of paths", body(*fields(places={"0": [1]}), hello)
    yield "map points to 'variables.other'", body(*fields(places={"0": ["variables.other"]}), hello)
    yield "map points to 'query'", body(*fields(places={"0": ["query"]}), hello)
    nothing = {"query": CREATE, "variables": None}
    yield "map points to 'variables'", body(*fields(nothing, {"0": ["variables"]}), hello)
    yield "map points to 'operationName'", body(*fields({**OPERATION, "operationName": None}, {"0": ["operationName"]}))
    yield "map points to 'variables.file.0'", body(*fields(places={"0": ["variables.file.0"]}), hello)
    taken = {**OPERATION, "variables": {"file": "taken"}}
    yield "map points to 'variables.file'", body(*fields(taken), hello)
    in_list = {**OPERATION, "variables": {"list": [None]}}
    yield "map points to 'variables.list.1'", body(*fields(in_list, {"0": ["variables.list.1"]}), hello)
    yield "map points to 'variables.list.-1'", body(*fields(in_list, {"0": ["variables.list.-1"]}), hello)
    for step in ("9" * 5000, "\u0660", "0" * 10):
        path = f"variables.list.{step}"
        yield f"map points to {path[:64]!r}", body(*fields(in_list, {"0": [path]}), hello)
    many = {str(number): ["variables.file"] for number in range(101)}
    yield "the limit is 100", body(*fields(places=many), hello)


@pytest.mark.parametrize(("words", "content"), list(bad_bodies()))
async def test_invalid_multipart_requests_are_refused(
    client: httpx.AsyncClient, database: Database, words: str, content: bytes
) -> None:
    answer = await send(client, content)

    assert_refused(answer, 400, "BAD_USER_INPUT", words)
    assert await stored_counts(database) == (0, 0, 0)


OBJ = '{projectId: "acme/files", objectId: "a", val: $v}'
IN_JSON = [
    (f"mutation ($v: JSON!) {{ objCreate(obj: {OBJ}) {{ digest }} }}", {"v": None}, "v", "JSON"),
    (f"mutation ($v: JSON!) {{ objCreate(obj: {OBJ}) {{ digest }} }}", {"v": {"a": None}}, "v.a", "JSON"),
    (
        "mutation ($t: TableSchemaForInsert!) { tableCreate(table: $t) { digest } }",
        {"t": {"projectId": "acme/files", "rows": [{"a": None}]}},
        "t.rows.0.a",
        "TableSchemaForInsert",
    ),
    (
        "mutation ($s: StartedCallSchemaForInsert!) { callStart(start: $s) { id } }",
        {"s": {"projectId": "acme/files", "opName": "a", "inputs": {"a": [None]}}},
        "s.inputs.a.0",
        "StartedCallSchemaForInsert",
    ),
]


@pytest.mark.parametrize(("query", "variables", "place", "kind"), IN_JSON, ids=[row[2] for row in IN_JSON])
async def test_file_is_not_a_json_value(
    client: httpx.AsyncClient, query: str, variables: dict[str, Any], place: str, kind: str
) -> None:
    operations = {"query": query, "variables": variables}

    answer = await send(client, body(*fields(operations, {"0": [f"variables.{place}"]}), part("0", b"hello", "x")))

    words = f"map points to 'variables.{place}', but ${place[0]} is of type {kind}; a file requires a variable of type"
    assert_refused(answer, 400, "BAD_USER_INPUT", words)


async def test_file_inside_a_json_literal_is_refused(client: httpx.AsyncClient, database: Database) -> None:
    obj = '{projectId: "acme/files", objectId: "a", val: {a: [$file]}}'
    operations = {**OPERATION, "query": f"mutation ($file: Upload!) {{ objCreate(obj: {obj}) {{ digest }} }}"}

    answer = await send(client, body(*fields(operations), part("0", b"hello", "x")))

    assert_refused(answer, 200, "BAD_USER_INPUT", "$file is a file, which is not JSON")
    assert await database.objects.count_documents({}) == 0


@pytest.mark.parametrize("boundary", ["", "x" * 300, "ä"])
async def test_invalid_boundary_is_refused(client: httpx.AsyncClient, boundary: str) -> None:
    kind = {b"content-type": f"multipart/form-data; boundary={boundary}".encode("latin-1")}

    answer = await client.post(
        "/graphql", content=body(*fields()), headers={**kind, b"apollo-require-preflight": b"true"}
    )

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_too_large_parts_are_refused(client: httpx.AsyncClient, database: Database) -> None:
    too_long = {**OPERATION, "query": CREATE + "#" * 100_000}
    wide = {"query": CREATE, "variables": {"file": None, "other": None}}
    both = {"0": ["variables.file"], "1": ["variables.other"]}
    half = bytes(LIMIT // 2 + 1)

    operation = await send(client, body(*fields(too_long), part("0", b"hello", "x")))
    file = await send(client, body(*fields(), part("0", bytes(LIMIT + 1), "x")))
    together = await send(client, body(*fields(wide, both), part("0", half, "x"), part("1", half, "y")))
    fitting = await send(client, body(*fields(), part("0", bytes(LIMIT), "x")))

    assert_refused(operation, 413, "PAYLOAD_TOO_LARGE", "LOOMQL_MAX_BODY_BYTES")
    assert_refused(file, 413, "PAYLOAD_TOO_LARGE", "LOOMQL_MAX_FILE_BYTES")
    assert_refused(together, 413, "PAYLOAD_TOO_LARGE", "LOOMQL_MAX_FILE_BYTES")
    assert fitting.status_code == 200
    assert (await stored_counts(database))[0::2] == (1, 0)


async def test_files_of_all_requests_use_bounded_disk_space(
    mongodb_uri: str, database_name: str, database: Database
) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_spooled_bytes=len(LARGE))
    content, edge = body(*fields(), part("0", LARGE, "x")), len(LARGE) // 2
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield content[:edge]
        arrived.set()
        await go_on.wait()
        yield content[edge:]

    kind = {"content-type": "multipart/form-data; boundary=edge", **PREFLIGHT}
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:

            async def first_is_spooled() -> bool:
                return await spooled_bytes(client) >= edge - 1_000  # the form's own bytes, up to 1,000, are not spooled

            first = asyncio.create_task(client.post("/graphql", content=slow(), headers=kind))
            await arrived.wait()
            await until_found(first_is_spooled)
            refused = await send(client, content)
            small = await send(client, body(*fields(), part("0", b"hello", "x")))
            spooled = await spooled_bytes(client)
            go_on.set()
            stored = await first
            again = await send(client, content)

    assert_refused(refused, 429, "RATE_LIMITED", "half of LOOMQL_MAX_SPOOLED_BYTES")
    assert refused.headers["retry-after"] == "1"
    assert small.json()["data"] == {"fileCreate": {"digest": HELLO}}
    assert edge - 1_000 <= spooled <= edge
    assert stored.json() == again.json()
    assert "errors" not in stored.json()
    assert (await stored_counts(database))[0::2] == (2, 0)


async def spooled_bytes(client: httpx.AsyncClient) -> float:
    return (await read_samples(client))[sample("loomql_in_use", resource="spooled_bytes")]


async def test_multipart_subscription_is_refused(client: httpx.AsyncClient) -> None:
    answer = await send(client, body(*fields()), {**PREFLIGHT, "accept": "text/event-stream"})

    assert answer.status_code == 406


async def test_uploaded_temporary_files_are_deleted_after_the_request(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    @contextmanager
    def watched() -> Iterator[Any]:
        with TemporaryFile() as file:
            opened.append(file)
            yield file

    monkeypatch.setattr("app.graphql_http.multipart.TemporaryFile", watched)

    await send(client, body(*fields(), part("0", LARGE, "x")))
    await send(client, body(*fields(), part("0", LARGE, "x"), end=b""))

    assert [file.closed for file in opened] == [True, True]
