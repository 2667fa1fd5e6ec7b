"""Files in the API: storage and reads."""

import base64
from collections.abc import AsyncIterator

import pytest

from graphql_schema.context import Context, Stores
from graphql_schema.execution.scalars import SentFile
from graphql_schema.schema import LoomSchema
from stores.database import Database
from stores.files.store import MAX_READ_BYTES
from tests.commands import Commands
from tests.graphql_schema.conftest import Run
from tests.stores.files.streams import pieces

HELLO = "LPJNulXwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
CREATE = """
    mutation ($content: Base64, $name: String, $projectId: ID = "acme/files", $upload: Upload) {
        fileCreate(projectId: $projectId, name: $name, content: $content, upload: $upload) { digest }
    }
"""
READ = """
    query ($digest: String!) {
        file(projectId: "acme/files", digest: $digest) {
            projectId digest name sizeBytes contentType url content
        }
    }
"""


async def test_file_is_stored_and_read(run: Run) -> None:
    created = await run(CREATE, content="aGVsbG8=", name="hello.txt")
    read = await run(READ, digest=HELLO)

    assert created.data == {"fileCreate": {"digest": HELLO}}
    assert read.data == {
        "file": {
            "projectId": "acme/files",
            "digest": HELLO,
            "name": "hello.txt",
            "sizeBytes": 5,
            "contentType": "text/plain; charset=utf-8",
            "url": f"/files/acme/files/{HELLO}",
            "content": "aGVsbG8=",
        }
    }


async def test_empty_file_is_a_file(run: Run) -> None:
    digest = (await run(CREATE, content="", name="empty")).data["fileCreate"]["digest"]

    file = (await run(READ, digest=digest)).data["file"]

    assert digest == "47DEQpj8HBSaXYTImWX5JCeuQeRkm5NMpJWZG3hSuFU"
    assert (file["content"], file["sizeBytes"], file["contentType"]) == ("", 0, "application/octet-stream")


async def test_content_may_be_a_literal_or_a_variable(run: Run) -> None:
    created = await run('mutation { fileCreate(projectId: "acme/files", name: "a", content: "aGVsbG8=") { digest } }')

    assert created.data == {"fileCreate": {"digest": HELLO}}


@pytest.mark.parametrize(
    "content",
    ["aGVsbG8", "aGVsbG9=", "aGVs bG8=", "aGVsbG8=\n", "====", "aGVsbG8=aGVs", "aGV-", "ä", 5, ["aGVsbG8="], {}],
)
async def test_invalid_base64_is_refused(run: Run, database: Database, content: object) -> None:
    answer = await run(CREATE, content=content, name="x")

    assert answer.code == "BAD_USER_INPUT"
    assert "a Base64 must be a string" in answer.errors[0]["message"]
    assert await database.files.count_documents({}) == 0


@pytest.mark.parametrize(
    ("variables", "argument"),
    [
        ({"content": "aGVsbG8=", "name": "../../etc/passwd"}, "name"),
        ({"content": "aGVsbG8=", "name": "x" * 1025}, "name"),
        ({"content": "aGVsbG8=", "name": "x", "projectId": "acme"}, "projectId"),
        ({"name": "x"}, "content"),
    ],
)
async def test_invalid_input_is_named(run: Run, variables: dict[str, object], argument: str) -> None:
    answer = await run(CREATE, **variables)

    assert answer.code == "BAD_USER_INPUT"
    assert answer.errors[0]["extensions"]["argument"] == argument


async def test_upload_is_not_json(run: Run) -> None:
    answer = await run(CREATE, upload="aGVsbG8=")

    assert answer.code == "BAD_USER_INPUT"
    assert "multipart/form-data" in answer.errors[0]["message"]


async def hello() -> AsyncIterator[bytes]:
    yield b"hel"
    yield b"lo"


@pytest.mark.parametrize(("name", "stored"), [(None, "sent.txt"), ("other.txt", "other.txt")])
async def test_upload_has_the_given_name_or_its_own(run: Run, name: str | None, stored: str) -> None:
    created = await run(CREATE, upload=SentFile("sent.txt", hello), name=name)
    read = await run(READ, digest=HELLO)

    assert created.data == {"fileCreate": {"digest": HELLO}}
    assert (read.data["file"]["name"], read.data["file"]["content"]) == (stored, "aGVsbG8=")


async def test_content_and_upload_exclude_each_other(run: Run, database: Database) -> None:
    answer = await run(CREATE, upload=SentFile(None, hello), content="aGVsbG8=")

    assert answer.code == "BAD_USER_INPUT"
    assert await database.files.count_documents({}) == 0


async def test_file_over_the_server_limit_is_refused(schema: LoomSchema, database: Database) -> None:
    context = Context(Stores(database), max_file_bytes=4)

    for variables in ({"content": "aGVsbG8=", "name": "x"}, {"upload": SentFile("x", hello)}):
        result = await schema.execute(CREATE, variable_values=variables, context_value=context)
        assert result.errors
        [error] = result.errors
        assert (error.extensions or {})["code"] == "PAYLOAD_TOO_LARGE"
        assert "LOOMQL_MAX_FILE_BYTES" in error.message


async def test_unknown_file_is_null(run: Run) -> None:
    assert await run(READ, digest=HELLO) == ({"file": None}, [])


async def test_content_is_read_only_when_selected(run: Run, commands: Commands) -> None:
    await run(CREATE, content="aGVsbG8=", name="x")
    commands.sent.clear()

    answer = await run('query ($d: String!) { file(projectId: "acme/files", digest: $d) { sizeBytes } }', d=HELLO)

    assert answer.data == {"file": {"sizeBytes": 5}}
    assert commands.names == ["find"]


async def test_file_too_large_for_a_response_names_its_url(run: Run) -> None:
    content = base64.b64encode(bytes(MAX_READ_BYTES + 1)).decode()
    digest = (await run(CREATE, content=content, name="zeros")).data["fileCreate"]["digest"]

    refused = await run(READ, digest=digest)
    answer = await run('query ($d: String!) { file(projectId: "acme/files", digest: $d) { url } }', d=digest)

    assert refused.code == "PAYLOAD_TOO_LARGE"
    assert "from its url" in refused.errors[0]["message"]
    assert answer.data == {"file": {"url": f"/files/acme/files/{digest}"}}


async def test_file_contents_of_one_response_share_a_limit(schema: LoomSchema, database: Database) -> None:
    stores = Stores(database)
    digest, _, _ = await stores.files.create("acme/files", pieces(bytes(MAX_READ_BYTES)), "zeros")
    file = f'file(projectId: "acme/files", digest: "{digest}")'
    aliases = " ".join(f"a{number}: {file} {{ content }}" for number in range(5))

    result = await schema.execute(f"{{ {aliases} }}", context_value=Context(stores))
    alone = await schema.execute(f"{{ {file} {{ content }} url: {file} {{ url }} }}", context_value=Context(stores))

    assert result.errors
    [error] = result.errors
    assert (error.extensions or {})["code"] == "PAYLOAD_TOO_LARGE"
    assert "from its url" in error.message
    assert alone.errors is None


async def test_stats_count_each_content_once(run: Run) -> None:
    query = '{ filesStats(projectId: "acme/files") { totalSizeBytes count } }'
    before = await run(query)

    for content in ("aGVsbG8=", "aGVsbG8=", "", "aGk="):
        await run(CREATE, content=content, name="x")

    assert before.data == {"filesStats": {"totalSizeBytes": 0, "count": 0}}
    assert (await run(query)).data == {"filesStats": {"totalSizeBytes": 7, "count": 3}}
