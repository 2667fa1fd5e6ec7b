"""Tests that long data URLs in inputs and outputs become files, and all other values stay unchanged."""

import base64
import json
import random
from typing import Any

import pytest

from stores.calls import CallEnd, CallsStore, CallStart
from stores.calls.documents import MAX_BYTES
from stores.database import Database
from stores.digests import bytes_digest
from stores.errors import BadInputError, PayloadTooLargeError
from stores.files import FilesStore
from stores.files.data_urls import MAX_INLINE_LENGTH
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.files.streams import stored_counts

IMAGE = b"\x89PNG\r\n\x1a\n" + random.Random(4).randbytes(2000)


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


URL = data_url(IMAGE)
BROKEN = [
    URL[:-1],
    URL + "\n",
    URL + "====",
    URL.replace(";base64,", ";base64,-"),
    " " + URL,
    "x" + URL,
    URL.replace(";base64,", ";charset=utf-8;base64,"),
    URL.replace(";base64,", ","),
    URL.replace("image/png", ""),
    URL.replace("image/png", "image"),
    URL.replace("data:", "DATA:"),
]


@pytest.fixture
def files(database: Database) -> FilesStore:
    return FilesStore(database)


async def stored(calls: CallsStore, field: str, number: int = 1) -> Any:
    row = await calls.one(PROJECT, call_id(number), ["inputs", "output", "attributes", "summary", "storage_size_bytes"])
    assert row is not None
    return json.loads(row["json"][field])


async def content_of(files: FilesStore, digest: str) -> bytes:
    return await files.read(await files.one(PROJECT, digest))


async def test_data_url_is_replaced_by_weave_content(calls: CallsStore, files: FilesStore) -> None:
    await calls.write([start(inputs={"messages": [{"image": URL, "text": "look"}]})])

    [message] = (await stored(calls, "inputs"))["messages"]
    assert message["text"] == "look"
    assert message["image"] == {
        "_type": "CustomWeaveType",
        "weave_type": {"type": "weave.type_wrappers.Content.content.Content"},
        "files": {"content": bytes_digest(IMAGE), "metadata.json": message["image"]["files"]["metadata.json"]},
    }
    assert await content_of(files, bytes_digest(IMAGE)) == IMAGE
    metadata = json.loads(await content_of(files, message["image"]["files"]["metadata.json"]))
    assert {name: metadata[name] for name in ("size", "mimetype", "digest", "filename", "extension", "encoding")} == {
        "size": len(IMAGE),
        "mimetype": "image/png",
        "digest": bytes_digest(IMAGE),
        "filename": bytes_digest(IMAGE)[:8] + ".png",
        "extension": ".png",
        "encoding": "base64",
    }
    assert {"id", "content_type", "input_type"} <= metadata.keys()


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a batch"])
async def test_data_urls_in_inputs_and_output_only_are_extracted(
    calls: CallsStore, database: Database, *, alone: bool
) -> None:
    parts: list[CallStart | CallEnd] = [
        start(inputs={"a": URL}, attributes={"a": URL}),
        end(output=URL, summary={"a": URL}),
    ]
    if alone:
        for part in parts:
            await calls.write_one(part)
    else:
        await calls.write(parts)

    assert (await stored(calls, "inputs"))["a"]["files"]["content"] == bytes_digest(IMAGE)
    assert (await stored(calls, "output"))["files"]["content"] == bytes_digest(IMAGE)
    assert (await stored(calls, "attributes"))["a"] == URL
    assert (await stored(calls, "summary"))["a"] == URL
    assert await stored_counts(database) == (2, 2, 0)


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: repr(text)[:30] + repr(text)[-8:])
async def test_malformed_data_url_is_kept(calls: CallsStore, database: Database, text: str) -> None:
    await calls.write([start(inputs={"a": text, text: "a key"}), end(output=text)])

    assert await stored(calls, "inputs") == {"a": text, text: "a key"}
    assert await stored(calls, "output") == text
    assert await stored_counts(database) == (0, 0, 0)


async def test_only_data_urls_over_1024_characters_are_extracted(calls: CallsStore, database: Database) -> None:
    lengths = {
        length: "data:a/b;base64," + "A" * (length - 16) for length in (MAX_INLINE_LENGTH, MAX_INLINE_LENGTH + 4)
    }
    assert [len(text) for text in lengths.values()] == list(lengths)

    await calls.write([start(inputs={"short": lengths[MAX_INLINE_LENGTH], "long": lengths[MAX_INLINE_LENGTH + 4]})])

    inputs = await stored(calls, "inputs")
    assert inputs["short"] == lengths[MAX_INLINE_LENGTH]
    assert inputs["long"]["_type"] == "CustomWeaveType"
    assert await stored_counts(database) == (2, 2, 0)


async def test_callers_values_are_not_modified(calls: CallsStore) -> None:
    inputs = {"list": [{"a": URL}]}

    await calls.write([start(inputs=inputs)])

    assert inputs == {"list": [{"a": URL}]}


async def test_data_url_at_any_depth_is_found(calls: CallsStore, database: Database) -> None:
    deep: Any = URL
    for _ in range(1000):
        deep = [deep]

    await calls.write([start(inputs={"deep": deep})])

    assert (await database.files.count_documents({})) == 2


async def test_repeated_content_uses_no_more_space(calls: CallsStore, database: Database) -> None:
    for number in range(3):
        await calls.write([start(number, inputs={"a": URL, "b": [URL]})])
    await calls.write([start(9, inputs={"a": data_url(IMAGE, "image/x-other")})])

    # The content is stored once, with one description for each media type.
    assert await stored_counts(database) == (3, 3, 0)


async def test_image_too_large_for_a_document_is_stored(
    calls: CallsStore, files: FilesStore, database: Database
) -> None:
    content = random.Random(5).randbytes(MAX_BYTES)

    await calls.write([start(inputs={"a": data_url(content)})])

    parts = [chunk async for chunk in files.content(await files.one(PROJECT, bytes_digest(content)))]
    assert b"".join(parts) == content
    document = await database.calls.find_one({"id": call_id(1)})
    assert document is not None
    assert document["storage_size_bytes"] == document["start_size_bytes"] < 500


async def test_batch_with_an_invalid_item_stores_no_files_and_no_calls(calls: CallsStore, database: Database) -> None:
    with pytest.raises(BadInputError):
        await calls.write([start(1, inputs={"a": URL}), start(2, op_name="x" * 129)])
    with pytest.raises(PayloadTooLargeError):
        await calls.write([start(1, inputs={"a": URL}), start(2, inputs={"a": "x" * MAX_BYTES})])

    assert await stored_counts(database) == (0, 0, 0)
    assert await database.calls.count_documents({}) == 0


async def test_many_data_urls_of_a_batch_take_few_commands(
    calls: CallsStore, database: Database, commands: Commands
) -> None:
    urls = [data_url(IMAGE + b"%d" % number) for number in range(600)]
    batch = [start(number, inputs={"images": urls[number * 20 : number * 20 + 20]}) for number in range(30)]

    await calls.write(batch)

    assert await stored_counts(database) == (1200, 1200, 0)
    assert len(commands.sent) < 30
    assert (await stored(calls, "inputs", 29))["images"][19]["files"]["content"] == bytes_digest(IMAGE + b"599")


async def test_extracted_files_are_stored_in_the_calls_project(calls: CallsStore, files: FilesStore) -> None:
    await calls.write([start(1, inputs={"a": URL}), start(2, project_id="acme/others", inputs={"a": URL})])

    for project_id in (PROJECT, "acme/others"):
        assert (await files.one(project_id, bytes_digest(IMAGE))).size_bytes == len(IMAGE)
