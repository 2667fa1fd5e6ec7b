"""Tests that logs contain no secrets: the filter, and a real server at debug level with errors and tracebacks."""

import base64
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from pymongo import MongoClient
from pymongo.errors import BulkWriteError, OperationFailure
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from app.observability.logs import Redaction, log_config
from app.settings import Settings
from tests.app.command import serving
from tests.waiting import TIMEOUT

KEY = "loomql_0123456789abcdefghijklmnop"
PASSWORD = "hunter2-of-the-database"  # noqa: S105 -- of no database
VARIABLE = "variable-of-a-customer"
LITERAL = "literal-of-a-customer"
PROVIDER_KEY = "sk-provider-0123456789"
JWT = jwt.encode({"sub": "ann", "exp": 2_000_000_000}, "a secret of thirty-two bytes, surely")
SECRETS = (KEY, PASSWORD, VARIABLE, LITERAL, PROVIDER_KEY, base64.b64encode(f"u:{KEY}".encode()).decode())


def record(message: str, *args: object, name: str = "loomql", error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, logging.ERROR, __file__, 1, message, args, info)


def redacted(entry: logging.LogRecord) -> str:
    variables = {"ACME_API_KEY": PROVIDER_KEY, "HOME": "/root", "EMPTY_KEY": "EMPTY", "LOOMQL_KEYS": "required"}
    assert Redaction(variables).filter(entry)
    return logging.Formatter().format(entry)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"Authorization: Bearer {KEY}", "Authorization: ***"),
        ("headers {'authorization': 'Basic dTpodW50ZXIyMjIy', 'x': 1}", "headers {'authorization': '***', 'x': 1}"),
        (f"came with {KEY}.", "came with loomql_***"),
        (f"reach mongodb://root:{PASSWORD}@db:27017/?tls=true now", "reach mongodb://root:***@db:27017/?tls=true now"),
        (f"the provider refused {PROVIDER_KEY} today", "the provider refused *** today"),
        ("a key is required", "a key is required"),
        ("LOOMQL_MONGODB_URI leads to no database", "LOOMQL_MONGODB_URI leads to no database"),
        (f"came with {JWT}.", "came with ***."),
        (f"came with {JWT.rpartition('.')[0]}. and {JWT[:-9]}", "came with ***. and ***"),
        (f"asked /x?token={JWT}&a=b", "asked /x?token=***&a=b"),
        (f"asked https://root:{PASSWORD}@db.example:80/x?y=z", "asked https://root:***@db.example:80/x?y=z"),
        (f"asked 'http://:{PASSWORD}:@@[::1]/x@y', then", "asked 'http://:***@[::1]/x@y', then"),
        ("asked https://db.example:80/a@b and mailto:a@b", "asked https://db.example:80/a@b and mailto:a@b"),
        ("eyJ.a.b of keyJournal.example.com", "eyJ.a.b of keyJournal.example.com"),
        ("it wants EMPTY and lives in /root", "it wants EMPTY and lives in /root"),
        ("swept acme/support: 12 calls", "swept acme/support: 12 calls"),
    ],
)  # fmt: skip
def test_secrets_are_removed_from_messages(message: str, expected: str) -> None:
    assert redacted(record(message)) == expected
    assert redacted(record("%s", message)) == expected


def test_access_log_omits_the_query_string() -> None:
    path = f'/graphql?query={{x}}&variables={{"a":"{VARIABLE}"}}'
    entry = record('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", path, "1.1", 200, name="uvicorn.access")

    assert redacted(entry) == '127.0.0.1:1 - "GET /graphql?*** HTTP/1.1" 200'


def failure(raised: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise raised from cause  # noqa: TRY301 -- for its traceback
    except Exception as error:  # noqa: BLE001 -- whatever the test raises
        return error


def test_traceback_keeps_frames_and_drops_quoted_text() -> None:
    cause = failure(KeyError(VARIABLE))
    text = redacted(
        record("unexpected", error=failure(ValueError(f'no float: \'{VARIABLE}\' of {{"a": "{LITERAL}'), cause))
    )

    assert VARIABLE not in text
    assert LITERAL not in text
    assert text.count("Traceback (most recent call last)") == 2
    assert text.count("raise raised from cause") == 2
    assert text.index("KeyError: ***") < text.index("direct cause") < text.index("ValueError: no float: *** of ***")


@pytest.mark.parametrize(
    "error",
    [
        OperationFailure(f"bad {VARIABLE}", 9, {"codeName": "FailedToParse", "errmsg": VARIABLE}),
        BulkWriteError({"writeErrors": [{"code": 11000, "op": {"_id": VARIABLE}}]}),
        ExceptionGroup("several", [ValueError(f"'{VARIABLE}'")]),
        UnicodeDecodeError("utf-8", VARIABLE.encode(), 0, 1, f"'{VARIABLE}'"),
    ],
)
def test_driver_error_is_logged_with_its_code_and_no_document(error: Exception) -> None:
    text = redacted(record("unexpected", error=failure(error)))

    assert VARIABLE not in text
    assert type(error).__name__ in text


def test_libraries_do_not_log_at_debug() -> None:
    config = log_config(Settings(log_level="debug"))

    assert config["root"]["level"] == "INFO"
    assert config["loggers"]["loomql"]["level"] == "DEBUG"
    assert all("redaction" in handler["filters"] for name, handler in config["handlers"].items() if name != "audit")


async def test_real_server_at_debug_writes_no_secret(mongodb_uri: str, database_name: str, tmp_path: Path) -> None:
    environment = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_LOG_LEVEL": "debug",
        "OPENAI_API_KEY": PROVIDER_KEY,
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }
    with serving(tmp_path / "out", **environment) as server:
        host = server.url.removeprefix("http://").removesuffix("/graphql")
        async with httpx.AsyncClient(
            base_url=f"http://{host}", headers={"authorization": f"Bearer {KEY}"}, timeout=TIMEOUT
        ) as client:
            await provoke(client, mongodb_uri, database_name)
        async with connect(
            f"ws://{host}/graphql?token={VARIABLE}",
            subprotocols=[Subprotocol("graphql-transport-ws")],
            additional_headers={"authorization": f"Bearer {KEY}"},
        ) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {KEY}"}}))
            await socket.recv()
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": asking()}))
            await socket.recv()
        server.stop()
        output = server.output.read_text()

    assert "POST /graphql" in output  # the debug level is active
    assert output.count("Traceback (most recent call last)") >= 2
    assert [secret for secret in SECRETS if secret in output] == []


def asking() -> dict[str, Any]:
    fields = f'a: call(projectId: "{LITERAL}", id: "{LITERAL}") {{ id }}'
    query = (
        f"query ($p: ID!, $f: JSON) {{ calls(projectId: $p, query: {{json: $f}}) {{ nodes {{ inputs }} }} {fields} }}"
    )
    dsl = {"$expr": {"$eq": [{"$getField": VARIABLE}, {"$literal": VARIABLE}]}}
    return {"query": query, "variables": {"p": "acme/broken", "f": dsl}}


async def provoke(client: httpx.AsyncClient, mongodb_uri: str, database_name: str) -> None:
    """Make a server answer, refuse and fail requests that are full of secrets."""
    await client.get("/graphql", params={"query": f'{{ a(b: "{LITERAL}") }}', "variables": json.dumps({"v": VARIABLE})})
    await client.get("/graphql", params={"query": "{ __typename }"}, headers={"authorization": f"Basic {SECRETS[-1]}"})
    await client.post("/graphql", json={"query": "query ($v: Int) { __typename }", "variables": {"v": VARIABLE}})
    completion = 'mutation ($i: JSON!) { completionsCreate(projectId: "acme/broken", inputs: $i) { response } }'
    inputs = {"model": "gpt-4o", "messages": [{"role": "user", "content": VARIABLE}], "extra_headers": {"api_key": KEY}}
    await client.post("/graphql", json={"query": completion, "variables": {"i": inputs}})
    # LoomQL never writes such a document, so it causes an unexpected error.
    with MongoClient[dict[str, Any]](mongodb_uri) as mongo:
        broken = {
            "_id": "acme/broken:1",
            "project_id": "acme/broken",
            "id": "1",
            "visible": True,
            "inputs": VARIABLE,
            "json": VARIABLE,
            "started_at": VARIABLE,
            "trace_id": {"a": VARIABLE},
        }
        mongo[database_name].calls.insert_one(broken)
    for query in (
        'calls(projectId: "acme/broken") { nodes { id inputs startedAt } }',
        'threads(projectId: "acme/broken") { nodes { threadId } }',
    ):
        await client.post("/graphql", json={"query": f"{{ {query} }}"})
    await client.post("/graphql", json=asking())
    await client.get("/export/calls", params={"projectId": "acme/broken", "query": json.dumps({"x": VARIABLE})})
    await client.post("/weave/calls/stream_query", json={"project_id": "acme/broken", "query": {"$expr": VARIABLE}})
    await client.post("/weave/call/read", json={"project_id": "acme/broken", "id": "1"})
