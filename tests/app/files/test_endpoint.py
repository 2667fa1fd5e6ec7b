"""Tests of files over HTTP on a real server: streamed uploads and downloads that no browser executes."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from itertools import count
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.http.request_body import Pace
from app.server.application import create_app
from app.settings import Settings
from stores.database import Database
from stores.digests import bytes_digest
from stores.files.uploads import CHUNK_BYTES, HELD_BYTES
from stores.timings import Timings
from tests.app.conftest import SharedServer
from tests.live_server import live_server
from tests.stores.files.streams import stored_counts
from tests.waiting import TIMEOUT

HELLO = "LPJNulXwow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
HELLO_URL = f"/files/acme/files/{HELLO}"
LARGE = random.Random(2).randbytes(9 * CHUNK_BYTES + 5)
LIMIT = 3_000_000

pytestmark = pytest.mark.server_settings(max_file_bytes=LIMIT)


@pytest.fixture
def database_name(shared_server: SharedServer) -> str:
    """Return the name of the shared server's database, for servers with other settings, too."""
    return shared_server.database_name


@pytest.fixture
async def client(shared_server: SharedServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{shared_server.host}", timeout=TIMEOUT) as client:
        yield client


async def put(client: httpx.AsyncClient, content: bytes, name: str = "") -> str:
    answer = await client.put("/files/acme/files", content=content, params={"name": name} if name else None)
    assert answer.status_code in {200, 201}, answer.text
    url: str = answer.json()["url"]
    return url


def uploading(count: int) -> Callable[[tuple[int, int, int]], bool]:
    return lambda found: found[2] == count


def chunks(least: int) -> Callable[[tuple[int, int, int]], bool]:
    return lambda found: found[1] >= least


async def until(database: Database, is_so: Callable[[tuple[int, int, int]], bool]) -> None:
    for _ in range(500):
        if is_so(await stored_counts(database)):
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"it did not come to this: {await stored_counts(database)}")


async def test_file_is_uploaded_and_downloaded(client: httpx.AsyncClient) -> None:
    first = await client.put("/files/acme/files?name=hello.txt", content=b"hello")
    again = await client.put("/files/acme/files?name=again.txt", content=b"hello")
    down = await client.get(HELLO_URL)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == {"digest": HELLO, "sizeBytes": 5, "url": HELLO_URL}
    assert first.headers["location"] == HELLO_URL
    assert (down.status_code, down.content) == (200, b"hello")
    assert (
        dict(down.headers).items()
        >= {
            "content-type": "text/plain; charset=utf-8",
            "content-length": "5",
            "content-disposition": 'inline; filename="hello.txt"',
            "etag": f'"{HELLO}"',
            "accept-ranges": "bytes",
            "cache-control": "private, max-age=31536000, immutable",
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox",
            "cross-origin-resource-policy": "same-origin",
        }.items()
    )


async def test_upload_of_unknown_length_is_stored(client: httpx.AsyncClient) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 70_001):
            yield LARGE[start : start + 70_001]

    answer = await client.put("/files/acme/files", content=stream())

    assert answer.json()["sizeBytes"] == len(LARGE)
    assert (await client.get(answer.json()["url"])).content == LARGE


async def test_empty_file_is_downloaded_empty(client: httpx.AsyncClient) -> None:
    down = await client.get(await put(client, b""))

    assert (down.status_code, down.content, down.headers["content-length"]) == (200, b"", "0")
    assert (await client.get(str(down.url), headers={"range": "bytes=0-"})).status_code == 416


async def test_head_returns_headers_without_content(client: httpx.AsyncClient) -> None:
    url = await put(client, LARGE)

    head = await client.head(url)
    part = await client.head(url, headers={"range": "bytes=5-9"})

    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(LARGE)))
    assert (part.status_code, part.headers["content-range"]) == (206, f"bytes 5-9/{len(LARGE)}")


@pytest.mark.parametrize(
    ("byte_range", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=3-", 3, None),
        ("bytes=-4", -4, None),
        ("bytes=-99999999", 0, None),
        (f"bytes={CHUNK_BYTES - 2}-{CHUNK_BYTES + 2}", CHUNK_BYTES - 2, CHUNK_BYTES + 3),
        ("bytes=0-99999999", 0, None),
        ("BYTES = 1 - 2", 1, 3),
    ],
)
async def test_range_request_returns_one_range(
    client: httpx.AsyncClient, byte_range: str, start: int, stop: int | None
) -> None:
    url = await put(client, LARGE)

    part = await client.get(url, headers={"range": byte_range})

    first, size = range(len(LARGE))[start], len(LARGE)
    assert part.status_code == 206
    assert part.content == LARGE[start:stop]
    assert part.headers["content-length"] == str(len(part.content))
    assert part.headers["content-range"] == f"bytes {first}-{first + len(part.content) - 1}/{size}"


@pytest.mark.parametrize(
    "byte_range", [f"bytes={len(LARGE)}-", "bytes=99999999-99999999", "bytes=-0", f"bytes={10**17}-"]
)
async def test_range_beyond_the_end_is_refused(client: httpx.AsyncClient, byte_range: str) -> None:
    answer = await client.get(await put(client, LARGE), headers={"range": byte_range})

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(LARGE)}"
    assert answer.content == b""


@pytest.mark.parametrize(
    "byte_range", ["bytes=0-1,3-4", "lines=1-2", "bytes=5-2", "bytes=a-b", "bytes=-", "bytes=1", ""]
)
async def test_unsupported_ranges_return_the_whole_file(client: httpx.AsyncClient, byte_range: str) -> None:
    answer = await client.get(await put(client, LARGE), headers={"range": byte_range})

    assert (answer.status_code, answer.content) == (200, LARGE)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": f'"{HELLO}"'}, 304),
        ({"if-none-match": f'"other", W/"{HELLO}"'}, 304),
        ({"if-none-match": "*", "range": "bytes=0-1"}, 304),
        ({"if-none-match": '"other"'}, 200),
        ({"if-match": '"other"'}, 412),
        ({"if-match": f'"{HELLO}"'}, 200),
        ({"range": "bytes=0-1", "if-range": f'"{HELLO}"'}, 206),
        ({"range": "bytes=0-1", "if-range": '"other"'}, 200),
    ],
)
async def test_matching_etag_gets_304(client: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    answer = await client.get(await put(client, b"hello"), headers=headers)

    assert answer.status_code == status
    assert answer.headers["etag"] == f'"{HELLO}"'
    assert (answer.content == b"") == (status in {304, 412})


@pytest.mark.parametrize(
    ("content", "content_type", "kind"),
    [
        (b"<!doctype html><script>alert(1)</script>", "application/octet-stream", "attachment"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "application/octet-stream", "attachment"),
        (b"<?xml version='1.0'?><a/>", "application/octet-stream", "attachment"),
        (b"%PDF-1.7", "application/pdf", "attachment"),
        (b"PK\x03\x04", "application/octet-stream", "attachment"),
        (b"\x89PNG\r\n\x1a\n\0", "image/png", "inline"),
        (b"just text", "text/plain; charset=utf-8", "inline"),
    ],
)
async def test_html_and_similar_files_are_sent_as_downloads(
    client: httpx.AsyncClient, content: bytes, content_type: str, kind: str
) -> None:
    answer = await client.get(await put(client, content, "page.html"))

    assert answer.content == content
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-disposition"] == f'{kind}; filename="page.html"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b/c.txt", 'filename="c.txt"'),
        ('q"uo\\te.txt', 'filename="te.txt"'),
        (
            'x"; filename="evil.exe',
            "filename=\"x__ filename__evil.exe\"; filename*=UTF-8''x%22%3B%20filename%3D%22evil.exe",
        ),
        ("grün.txt", "filename=\"gr_n.txt\"; filename*=UTF-8''gr%C3%BCn.txt"),
        ("", f'filename="{HELLO}"'),
        ("a/", f'filename="{HELLO}"'),
    ],
)
async def test_file_name_cannot_inject_headers(client: httpx.AsyncClient, name: str, expected: str) -> None:
    answer = await client.get(await put(client, b"hello", name))

    assert answer.headers["content-disposition"] == f"inline; {expected}"


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ('attachment; filename="from header.txt"', 'filename="from header.txt"'),
        ("attachment; filename*=UTF-8''gr%C3%BCn.txt", "filename=\"gr_n.txt\"; filename*=UTF-8''gr%C3%BCn.txt"),
        ("attachment", f'filename="{HELLO}"'),
        ("attachment; FileName = plain.txt ; size=5", 'filename="plain.txt"'),
        ('attachment; filename="a;b\\"c.txt"', "filename=\"a_b_c.txt\"; filename*=UTF-8''a%3Bb%22c.txt"),
        ("attachment; filename=plain.txt; filename*=utf-8'en'better.txt", 'filename="better.txt"'),
        ("attachment; filename*=ISO-8859-1''gr%FCn.txt", "filename=\"gr_n.txt\"; filename*=UTF-8''gr%C3%BCn.txt"),
        (f"attachment; filename*{'1' * 4400}=digits.txt", f'filename="{HELLO}"'),
    ],
)
async def test_file_name_may_be_sent_as_a_header(client: httpx.AsyncClient, disposition: str, expected: str) -> None:
    await client.put("/files/acme/files", content=b"hello", headers={"content-disposition": disposition})

    assert (await client.get(HELLO_URL)).headers["content-disposition"] == f"inline; {expected}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("undefined''abc", "filename*: is \"undefined''abc\"; write UTF-8'' and then the name"),
        ("idna''abc%ff", "write UTF-8''"),
        ("a%00b''c", "write UTF-8''"),
        ("unicode_escape''%5cud800", "write UTF-8''"),
        ("abc", "write UTF-8''"),
        ("utf-8'abc", "write UTF-8''"),
        ("utf-8''abc%ff", "is not valid UTF-8"),
        ("utf-8''" + "1" * 4400, "name: has 4,400 characters; the limit is 1,024"),
    ],
)
async def test_unreadable_name_in_a_header_is_refused(client: httpx.AsyncClient, value: str, words: str) -> None:
    answer = await client.put(
        "/files/acme/files", content=b"hello", headers={"content-disposition": f"attachment; filename*={value}"}
    )

    [error] = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (400, "BAD_USER_INPUT")
    assert words in error["message"]


@pytest.fixture
def connection(mongodb_uri: str, database_name: str) -> Iterator[HTTPConnection]:
    with live_server(create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name))) as host:
        connection = HTTPConnection(host, timeout=TIMEOUT)
        yield connection
        connection.close()


def exchange(
    connection: HTTPConnection, method: str, url: str, body: bytes = b"", disposition: bytes | None = None
) -> tuple[int, str | None]:
    """Send any bytes as Content-Disposition, which httpx refuses; return the status and the header of the answer."""
    connection.putrequest(method, url)
    connection.putheader("Content-Length", str(len(body)))
    if disposition is not None:
        connection.putheader("Content-Disposition", disposition)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    if answer.will_close:
        connection.close()
    return answer.status, answer.getheader("Content-Disposition")


FRAGMENTS = (
    b"attachment", b"filename", b"filename*", b"*0", b"*" + b"1" * 4400, b"=", b";", b"'", b"''", b'"', b"\\", b" ",
    b"utf-8", b"undefined", b"idna", b"punycode", b"utf-7", b"zlib", b"mbcs", b"..", b"%00", b"%ff", b"%C3%BC", b"%",
    b"\xff", b"1" * 4400,
)  # fmt: skip
VALUE = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=9), max_size=12).map(b"".join)
# A line break would end the header, and http.client refuses it.
SENDABLE = VALUE.map(lambda value: value.replace(b"\r", b"").replace(b"\n", b""))
SAME_SERVER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@SAME_SERVER
@given(rest=SENDABLE, prefix=st.sampled_from([b"", b"attachment; filename*=", b"attachment; filename="]))
@example(rest=b"undefined''abc", prefix=b"attachment; filename*=")
@example(rest=b"1" * 4400 + b"=a", prefix=b"attachment; filename*")
def test_invalid_content_disposition_is_never_a_server_error(
    connection: HTTPConnection, rest: bytes, prefix: bytes
) -> None:
    status, _ = exchange(connection, "PUT", "/files/acme/files", b"hello", prefix + rest)

    assert status in {200, 201, 400}


NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\"), min_size=1, max_size=60)
CONTENTS = count()


@SAME_SERVER
@given(name=NAMES.filter(lambda name: name != ".."))
def test_encoded_file_name_is_returned_as_sent(connection: HTTPConnection, name: str) -> None:
    content = str(next(CONTENTS)).encode()  # a file keeps the name of its first upload, so contents differ
    sent = f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()

    status, _ = exchange(connection, "PUT", "/files/acme/files", content, sent)
    _, disposition = exchange(connection, "GET", f"/files/acme/files/{bytes_digest(content)}")

    assert status == 201
    assert disposition is not None
    plain = all(sign.isascii() and (sign.isalnum() or sign in "._-") for sign in name)
    assert disposition.endswith(f'filename="{name}"' if plain else f"filename*=UTF-8''{quote(name, safe='')}")


@pytest.mark.parametrize(
    ("method", "url", "headers", "status", "code", "words"),
    [
        ("GET", HELLO_URL, {}, 404, "NOT_FOUND", "there is no file"),
        ("GET", "/files/acme/files/..%2F..%2Fetc", {}, 404, None, "GraphQL is at"),
        ("GET", "/files/a:b/files/x", {}, 400, "BAD_USER_INPUT", "is not a project id"),
        ("PUT", "/files/a:b/files", {}, 400, "BAD_USER_INPUT", "is not a project id"),
        ("PUT", "/files/acme/files?name=../up", {}, 400, "BAD_USER_INPUT", "must not contain .."),
        ("PUT", "/files/acme/files", {"content-encoding": "gzip"}, 415, "BAD_USER_INPUT", "Content-Encoding"),
        ("POST", "/files/acme/files", {}, 405, None, "Method Not Allowed"),
        ("DELETE", HELLO_URL, {}, 405, None, "Method Not Allowed"),
    ],
)
async def test_invalid_requests_are_refused_with_a_reason(
    client: httpx.AsyncClient, method: str, url: str, headers: dict[str, str], status: int, code: str | None, words: str
) -> None:
    answer = await client.request(method, url, content=b"hello", headers=headers)

    assert answer.status_code == status
    assert words in answer.text
    if code:
        [error] = answer.json()["errors"]
        assert error["extensions"]["code"] == code


async def test_too_large_upload_is_refused_and_leaves_nothing(client: httpx.AsyncClient, database: Database) -> None:
    async def far_too_much() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield bytes(100_000)

    announced = await client.put("/files/acme/files", content=bytes(LIMIT + 1))
    streamed = await client.put("/files/acme/files", content=far_too_much())
    fitting = await client.put("/files/acme/files", content=bytes(LIMIT))

    assert [announced.status_code, streamed.status_code, fitting.status_code] == [413, 413, 201]
    for answer in (announced, streamed):
        assert "LOOMQL_MAX_FILE_BYTES" in answer.json()["errors"][0]["message"]
    assert (await stored_counts(database))[0::2] == (1, 0)


async def test_disconnected_upload_leaves_nothing(client: httpx.AsyncClient, database: Database) -> None:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    head = "PUT /files/acme/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2500000\r\n\r\n"
    writer.write(head.encode() + LARGE[:2_000_000])
    await writer.drain()
    for _ in range(200):
        if (await stored_counts(database))[2]:
            break
        await asyncio.sleep(0.02)
    under_way = await stored_counts(database)

    writer.close()
    await writer.wait_closed()
    assert await reader.read() == b""
    for _ in range(200):
        if await stored_counts(database) == (0, 0, 0):
            break
        await asyncio.sleep(0.02)

    assert (under_way[0], under_way[2]) == (0, 1)
    assert await stored_counts(database) == (0, 0, 0)


async def test_concurrent_uploads_have_bounded_memory_and_others_retry_later(
    mongodb_uri: str, database_name: str, database: Database
) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_pending_bytes=HELD_BYTES)
    with live_server(create_app(settings, Timings(budget_wait_seconds=0.05)), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            go_on = asyncio.Event()

            async def slow(last: bytes) -> AsyncIterator[bytes]:
                yield LARGE
                await go_on.wait()
                yield LARGE + last

            slowly = asyncio.create_task(client.put("/files/acme/files", content=slow(b"a")))
            await until(database, chunks(8))
            refused = await client.put("/files/acme/files", content=LARGE[1:])
            small = await client.put("/files/acme/files", content=b"hello")
            go_on.set()
            stored = await slowly
            again = await client.put("/files/acme/files", content=LARGE[1:])

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json()["errors"][0]["extensions"] == {"code": "RATE_LIMITED", "retryAfterSeconds": 1}
    assert (small.status_code, small.json()["digest"]) == (201, HELLO)
    assert (stored.status_code, stored.json()["sizeBytes"], again.status_code) == (201, 2 * len(LARGE) + 1, 201)


async def test_upload_that_exceeds_the_limit_is_refused_and_leaves_nothing(
    mongodb_uri: str, database_name: str, database: Database
) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_pending_bytes=HELD_BYTES + 700_000)
    with live_server(create_app(settings, Timings(budget_wait_seconds=0.05)), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            go_on, end = [asyncio.Event() for _ in range(2)], asyncio.Event()

            async def slow(number: int) -> AsyncIterator[bytes]:
                yield LARGE[:300_000]
                await go_on[number].wait()
                yield LARGE[300_000:]
                await end.wait()
                yield b"the end"

            uploads = []
            for number in range(2):
                uploads.append(asyncio.create_task(client.put("/files/acme/files", content=slow(number))))
                await until(database, uploading(number + 1))
            # The first upload takes the large slot of its caller; the second exceeds half of it.
            go_on[0].set()
            await until(database, chunks(8))
            go_on[1].set()
            await until(database, uploading(1))
            end.set()
            stored, refused = await asyncio.gather(*uploads)

    assert (stored.status_code, stored.json()["sizeBytes"]) == (201, len(LARGE) + 7)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert await stored_counts(database) == (1, 10, 0)


SILENT = b"PUT /files/acme/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n"


async def test_declared_length_alone_reserves_nothing(mongodb_uri: str, database_name: str, database: Database) -> None:
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_pending_bytes=HELD_BYTES)
    with live_server(create_app(settings), lifespan="on") as host, ExitStack() as sockets:
        for _ in range(40):
            _, writer = await asyncio.open_connection(*host.split(":"))
            sockets.callback(writer.close)
            writer.write(SILENT)
            await writer.drain()
        await until(database, uploading(40))
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            answer = await client.put("/files/acme/files", content=LARGE)

    assert (answer.status_code, answer.json()["sizeBytes"]) == (201, len(LARGE))


async def test_silent_upload_times_out_and_leaves_nothing(
    mongodb_uri: str, database_name: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.http.request_body.PACE", Pace(1.0))
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name, max_pending_bytes=HELD_BYTES)
    with live_server(create_app(settings), lifespan="on") as host:
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(SILENT + LARGE)
        answer = await reader.read()
        writer.close()
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            after = await stored_counts(database)
            stored = await client.put("/files/acme/files", content=LARGE)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"more slowly than 16,000 bytes/s, or not at all, for 1 seconds" in body
    assert after == (0, 0, 0)
    assert stored.status_code == 201


async def test_file_is_readable_over_graphql_and_http(client: httpx.AsyncClient) -> None:
    url = await put(client, b"hello", "hello.txt")
    query = f'{{ file(projectId: "acme/files", digest: "{HELLO}") {{ url name content }} }}'

    answer = await client.post("/graphql", json={"query": query})

    assert answer.json()["data"] == {"file": {"url": url, "name": "hello.txt", "content": "aGVsbG8="}}


async def test_project_name_may_use_any_script(client: httpx.AsyncClient) -> None:
    answer = await client.put("/files/größe ä/мир", content=b"hello")

    assert answer.status_code == 201
    assert (await client.get(answer.json()["url"])).content == b"hello"
