"""Tests that generated images are stored as files and in a call."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any

import pytest
from pymongo import MongoClient
from starlette.responses import JSONResponse, Response

from stores import times
from stores.calls import CallsStore
from stores.costs import defaults
from stores.database import Database
from stores.errors import UnavailableError
from stores.files import FilesStore
from stores.images import MAX_CONCURRENT, ImageInputs, ImagesStore
from stores.json import codec
from stores.paging import Row
from stores.retention import RetentionStore, Rule
from stores.retention.rules import DAY
from tests.stand_in_provider import KEY, PNG, StandIn
from tests.stores.calls.builders import PROJECT
from tests.stores.images.pictures import CHART, DIGEST, OTHER, answer, encoded, value
from tests.waiting import until

INPUTS = ImageInputs("gpt-image-1", "a weft")


async def content(files: FilesStore, digest: str) -> bytes:
    return await files.read(await files.one(PROJECT, digest))


async def only_call(calls: CallsStore, call_id: str | None) -> Row:
    wanted = {"op_name", "started_at", "ended_at", "exception", "wb_user_id", "inputs", "output", "summary"}
    row = await calls.one(PROJECT, str(call_id), wanted)
    assert row
    assert await calls.count(PROJECT) == 1
    return row


def parsed(row: Row, name: str) -> Any:
    return codec.loads(row["json"][name].encode())


async def test_image_is_stored_as_two_files_and_a_call(
    images: ImagesStore, calls: CallsStore, files: FilesStore, stand_in: StandIn
) -> None:
    usage = {"input_tokens": 10, "output_tokens": 4_160, "total_tokens": 4_170}
    stand_in.reply = lambda _body: answer({**encoded(), "revised_prompt": "a blue weft"}, usage=usage)
    began = times.now()

    made = await images.create(PROJECT, ImageInputs("gpt-image-1", "a weft", 1), wb_user_id="ann")

    [entry] = made.response["data"]
    metadata = entry["b64_json"]["files"]["metadata.json"]
    assert entry == {"b64_json": value(DIGEST, metadata), "revised_prompt": "a blue weft"}
    assert made.response == {"created": 1_760_000_000, "usage": usage, "data": [entry]}
    assert made.pictures == [
        {"digest": DIGEST, "name": "image-1.png", "content_type": "image/png", "size_bytes": len(CHART)}
    ]
    assert await content(files, DIGEST) == CHART
    stored = codec.loads(await content(files, metadata))
    assert isinstance(stored, dict)
    assert len(stored.pop("id")) == 36
    assert stored == {
        "size": len(CHART),
        "mimetype": "image/png",
        "digest": DIGEST,
        "filename": "image-1.png",
        "content_type": "bytes",
        "input_type": "bytes",
        "encoding": "utf-8",
        "metadata": {"source_index": 0, "_original_schema": "b64_json"},
        "extension": ".png",
    }
    row = await only_call(calls, made.call_id)
    assert (row["op_name"], row["wb_user_id"]) == ("weave.image_generation_create", "ann")
    assert began <= row["started_at"] <= row["ended_at"] <= times.now()
    assert parsed(row, "inputs") == {"model": "gpt-image-1", "prompt": "a weft", "n": 1}
    assert parsed(row, "output") == made.response
    assert "exception" not in row
    assert parsed(row, "summary") == {
        "usage": {
            "gpt-image-1": {
                "requests": 1,
                "prompt_tokens": 10,
                "completion_tokens": 4_160,
                "total_tokens": 4_170,
            }
        }
    }


async def test_missing_usage_counts_one_request(images: ImagesStore, calls: CallsStore, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: answer(encoded(), usage={"input_tokens": "many", "total_tokens": True})

    made = await images.create(PROJECT, INPUTS)

    assert parsed(await only_call(calls, made.call_id), "summary") == {"usage": {"gpt-image-1": {"requests": 1}}}


async def test_image_tokens_are_counted_separately(images: ImagesStore, calls: CallsStore, stand_in: StandIn) -> None:
    usage = {"input_tokens": 50, "output_tokens": 60, "total_tokens": 110}
    details = {"input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}
    stand_in.reply = lambda _body: answer(encoded(), usage={**usage, **details})

    made = await images.create(PROJECT, INPUTS)

    row = await only_call(calls, made.call_id)
    counts = {"prompt_tokens": 50, "completion_tokens": 60, "requests": 1, "total_tokens": 110}
    kept = await calls.database.calls.find_one({"id": made.call_id})
    assert parsed(row, "summary") == {"usage": {"gpt-image-1": counts | details}}
    assert kept is not None
    assert kept["usage"] == [{"model": "gpt-image-1", **counts, "classes": {"image_input": 40, "image_output": 60}}]


async def test_usage_is_recorded_under_a_priced_model_name(
    images: ImagesStore, calls: CallsStore, stand_in: StandIn
) -> None:
    stand_in.reply = lambda _body: answer(encoded())
    assert (defaults.of_model("openai/gpt-4o"), bool(defaults.of_model("gpt-4o"))) == ((), True)

    made = await images.create(PROJECT, ImageInputs("openai/gpt-4o", "a weft"))

    row = await only_call(calls, made.call_id)
    assert parsed(row, "inputs")["model"] == "openai/gpt-4o"
    assert parsed(row, "summary")["usage"].keys() == {"gpt-4o"}


@pytest.mark.parametrize(
    "picture", [CHART, b"\xff\xd8\xff" + bytes(100), b"GIF89a" + bytes(100)], ids=["png", "jpg", "gif"]
)
async def test_image_in_a_data_url_is_stored(
    images: ImagesStore, files: FilesStore, stand_in: StandIn, picture: bytes
) -> None:
    stand_in.reply = lambda _body: answer({"url": f"data:image/x;base64,{base64.b64encode(picture).decode()}"})

    made = await images.create(PROJECT, INPUTS)

    [kept] = made.pictures
    assert await content(files, kept["digest"]) == picture
    assert made.response["data"][0]["url"]["files"]["content"] == kept["digest"]


async def test_images_behind_urls_are_downloaded(
    images: ImagesStore, calls: CallsStore, files: FilesStore, stand_in: StandIn
) -> None:
    urls = [f"{stand_in.base_url}/pictures/{number}.png" for number in range(3)]
    stand_in.reply = lambda _body: answer(*({"url": url, "b64_json": None} for url in urls))

    made = await images.create(PROJECT, ImageInputs("painter", "a weft", 3))

    assert [await content(files, picture["digest"]) for picture in made.pictures] == [PNG] * 3
    assert [picture["name"] for picture in made.pictures] == ["image-1.png", "image-2.png", "image-3.png"]
    entries = made.response["data"]
    assert len({entry["url"]["files"]["metadata.json"] for entry in entries}) == 3
    assert all(entry["b64_json"] is None for entry in entries)
    row = await only_call(calls, made.call_id)
    assert stand_in.base_url not in row["json"]["output"]


async def test_untracked_image_stores_files_but_no_call(
    images: ImagesStore, calls: CallsStore, files: FilesStore, stand_in: StandIn
) -> None:
    stand_in.reply = lambda _body: answer(encoded())

    made = await images.create(PROJECT, INPUTS, is_tracked=False)

    assert (made.call_id, await calls.count(PROJECT)) == (None, 0)
    assert await content(files, DIGEST) == CHART


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (JSONResponse({"error": {"message": f"Bad key {KEY}."}}, 401), "401"),
        (JSONResponse({"error": {"message": "Slower."}}, 429, {"Retry-After": "60"}), "429"),
        (JSONResponse({"error": {"message": "Fell over."}}, 500), "500"),
        (Response("<html>", media_type="text/html"), "not JSON"),
        ({"created": 1}, "has no data"),
        ({"data": {"url": "x"}}, "has no data"),
        (answer(), "returned 0 images; expected 1 to 10"),
        (answer(*[encoded()] * 11), "returned 11 images; expected 1 to 10"),
        (answer("text"), "Image 1 of 1 failed: the provider's response has neither b64_json nor url"),
        (answer({}), "has neither b64_json nor url"),
        (answer({"url": ""}), "has neither b64_json nor url"),
        (answer({"url": None, "b64_json": 5}), "has neither b64_json nor url"),
        (answer({"b64_json": "QUJD\nQUJD"}), "the provider returned an image that is not valid Base64"),
        (answer({"b64_json": "QUI"}), "the provider returned an image that is not valid Base64"),
        (answer({"b64_json": "Größe"}), "the provider returned an image that is not valid Base64"),
        (answer(encoded(b"<html>Not found</html>")), "no image of a supported type (PNG, JPEG, GIF, WEBP, AVIF)"),
        (answer(encoded(b"<svg xmlns='http://www.w3.org/2000/svg'/>")), "returned no image of a supported type"),
        (answer({"url": "file:///etc/passwd"}), "must begin with https://"),
        (answer({"url": "http://169.254.169.254/latest/meta-data"}), "169.254.169.254 is in the server's own network"),
        (answer({"url": "http://127.0.0.1:9/x.png"}), "127.0.0.1 is in the server's own network"),
        (answer({"url": "http://[::1]:9/x.png"}), "::1 is in the server's own network"),
    ],
)  # fmt: skip
async def test_response_without_images_has_a_reason_and_stores_nothing(
    images: ImagesStore,
    calls: CallsStore,
    files: FilesStore,
    stand_in: StandIn,
    reply: Any,
    message: str,
) -> None:
    stand_in.reply = lambda _body: reply

    made = await images.create(PROJECT, INPUTS)

    assert made.response.keys() == {"error"}
    assert message in made.response["error"]
    assert KEY not in made.response["error"]
    assert (made.call_id, made.pictures) == (None, [])
    assert await calls.count(PROJECT) == 0
    assert (await files.stats(PROJECT)).count == 0


@pytest.mark.parametrize("entry", [encoded, lambda: {"url": "{base_url}/pictures/1.png"}], ids=["b64_json", "url"])
async def test_too_large_image_is_refused(
    images: ImagesStore, files: FilesStore, stand_in: StandIn, entry: Callable[[], dict[str, str]]
) -> None:
    made_entry = {name: text.replace("{base_url}", stand_in.base_url) for name, text in entry().items()}
    stand_in.reply = lambda _body: answer(made_entry)

    made = await images.create(PROJECT, INPUTS, max_file_bytes=10)

    assert "10 bytes" in made.response["error"]
    assert (await files.stats(PROJECT)).count == 0


async def test_image_of_the_maximum_size_is_stored(images: ImagesStore, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: answer(encoded())

    made = await images.create(PROJECT, INPUTS, max_file_bytes=len(CHART))

    assert len(made.pictures) == 1


async def test_lost_image_is_reported_at_its_index(
    images: ImagesStore, calls: CallsStore, files: FilesStore, stand_in: StandIn
) -> None:
    missing = {"url": f"{stand_in.base_url}/missing.png"}
    stand_in.reply = lambda _body: answer(encoded(), missing, encoded(OTHER))

    made = await images.create(PROJECT, ImageInputs("gpt-image-1", "a weft", 3))

    assert [await content(files, picture["digest"]) for picture in made.pictures] == [CHART, OTHER]
    first, second, third = made.response["data"]
    assert "404" in second["error"]
    assert ("error" in first, "error" in third) == (False, False)
    assert made.response["error"] == f"Image 2 of 3 failed: {second['error']}"
    row = await only_call(calls, made.call_id)
    assert row["exception"] == made.response["error"]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"revised_prompt": "weave-trace-internal:///x"}, "is reserved for internal refs; write refs with weave:///"),
        ({"log": [["x" * 1_000] * 100] * 40}, "the limit is 7,700,000"),
    ],
    ids=["reserved", "too large"],
)
async def test_call_of_a_too_large_response_has_its_images(
    images: ImagesStore, calls: CallsStore, files: FilesStore, stand_in: StandIn, odd: dict[str, Any], reason: str
) -> None:
    stand_in.reply = lambda _body: answer({**encoded(), **odd})

    made = await images.create(PROJECT, INPUTS)

    assert made.response["data"][0].keys() == {"b64_json", *odd}
    row = await only_call(calls, made.call_id)
    output = parsed(row, "output")
    assert output["data"] == [{"b64_json": made.response["data"][0]["b64_json"]}]
    assert reason in row["exception"] == output["error"]
    assert await content(files, DIGEST) == CHART


@pytest.mark.parametrize("error", [None, {"code": 5}, "odd"])
async def test_provider_error_next_to_images_is_stored(
    images: ImagesStore, calls: CallsStore, stand_in: StandIn, error: object
) -> None:
    stand_in.reply = lambda _body: answer(encoded(), error=error)

    made = await images.create(PROJECT, INPUTS)

    row = await only_call(calls, made.call_id)
    assert parsed(row, "output") == made.response
    assert made.response["error"] == error
    assert "exception" not in row


async def test_files_live_as_long_as_their_call(
    images: ImagesStore, files: FilesStore, stand_in: StandIn, database: Database
) -> None:
    stand_in.reply = lambda _body: answer(encoded())
    made = await images.create(PROJECT, INPUTS)
    stand_in.reply = lambda _body: answer(encoded(OTHER))
    await images.create(PROJECT, INPUTS, is_tracked=False)
    long_ago = {"$set": {"created_at": times.now() - 3 * DAY}}
    await database.files.update_many({"project_id": PROJECT}, long_ago)
    retention = RetentionStore(database)
    await retention.set_rule(PROJECT, Rule(keep_days=5))

    first = await retention.sweep(PROJECT, pause=0)
    kept = set(await database.files.distinct("digest", {"project_id": PROJECT}))
    old = dict.fromkeys(("started_at", "ended_at"), times.now() - 9 * DAY)
    await database.calls.update_many({"project_id": PROJECT}, {"$set": old})
    second = await retention.sweep(PROJECT, pause=0)

    assert (first.counts.files, second.counts.files) == (2, 2)
    assert kept == set(made.response["data"][0]["b64_json"]["files"].values())
    assert (await files.stats(PROJECT)).count == 0


async def test_repeated_image_is_one_file(images: ImagesStore, files: FilesStore, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: answer(encoded())

    both = [await images.create(PROJECT, INPUTS) for _ in range(2)]

    assert both[0].response["data"] == both[1].response["data"]
    assert both[0].call_id != both[1].call_id
    assert (await files.stats(PROJECT)).count == 2


async def test_concurrent_image_requests_are_limited(images: ImagesStore, stand_in: StandIn) -> None:
    work = [
        asyncio.create_task(images.create(PROJECT, ImageInputs("held", "a weft"))) for _ in range(MAX_CONCURRENT + 2)
    ]

    await until(lambda: len(stand_in.requests) == MAX_CONCURRENT)
    await asyncio.sleep(0.1)
    assert len(stand_in.requests) == MAX_CONCURRENT
    stand_in.is_released = True
    made = await asyncio.gather(*work)

    assert len(stand_in.requests) == MAX_CONCURRENT + 2
    assert all(each.pictures for each in made)


async def test_image_request_for_a_project_being_purged_is_refused(
    images: ImagesStore, stand_in: StandIn, database: Database
) -> None:
    await database.projects.insert_one({"_id": PROJECT, "id": PROJECT, "purging": 1})

    with pytest.raises(UnavailableError, match="acme/chat is being purged"):
        await images.create(PROJECT, INPUTS)

    assert stand_in.requests == []


async def test_image_for_a_project_purged_meanwhile_is_not_stored(
    images: ImagesStore, calls: CallsStore, files: FilesStore, stand_in: StandIn, mongodb_uri: str, database_name: str
) -> None:
    def reply(_body: object) -> dict[str, Any]:
        with MongoClient[dict[str, object]](mongodb_uri) as client:
            client[database_name].projects.update_one({"_id": PROJECT}, {"$set": {"created_at": 2}})
        return answer(encoded())

    stand_in.reply = reply
    await images.database.projects.insert_one({"_id": PROJECT, "id": PROJECT, "created_at": 1})

    with pytest.raises(UnavailableError, match="acme/chat was purged during this request"):
        await images.create(PROJECT, INPUTS)

    assert (await calls.count(PROJECT), (await files.stats(PROJECT)).count) == (0, 0)


async def test_project_without_stored_images_is_not_registered(
    images: ImagesStore, stand_in: StandIn, database: Database
) -> None:
    stand_in.reply = lambda _body: answer({"b64_json": "?"})

    await images.create(PROJECT, INPUTS)

    assert await database.projects.count_documents({}) == 0
