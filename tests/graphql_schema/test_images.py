"""Images in the API: the answers and errors of each field, and the stored pictures."""

from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse

from app.providers import EnvironmentProviders
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Context, Stores
from graphql_schema.schema import LoomSchema
from stores.calls import CallsStore
from stores.costs import CostsStore
from stores.costs.store import NewCost
from stores.database import Database
from tests.graphql_schema.conftest import Run, running
from tests.live_server import live_server
from tests.stand_in_provider import KEY, StandIn
from tests.stores.calls.builders import PROJECT
from tests.stores.images.pictures import CHART, DIGEST, answer, encoded
from tests.waiting import TIMEOUT

CREATE = """
    mutation ($inputs: ImageGenerationRequestInputs!, $user: String, $track: Boolean) {
        imageCreate(projectId: "acme/chat", inputs: $inputs, wbUserId: $user, trackLlmCall: $track) {
            response
            images { digest name contentType sizeBytes url }
            weaveCallId
            call { id traceName status wbUserId totalTokens totalCost output(path: "data.0.b64_json.files.content") }
        }
    }
"""
USAGE = {"input_tokens": 10, "output_tokens": 90, "total_tokens": 100}


@pytest.fixture
def run(schema: LoomSchema, database: Database, providers: EnvironmentProviders) -> Run:
    """Return a function that runs a document with model providers."""
    return running(schema, Context(Stores(database, providers)))


def inputs(**changes: Any) -> dict[str, Any]:
    return {"model": "gpt-image-1", "prompt": "a weft"} | changes


async def test_image_has_its_file_and_its_call(run: Run, database: Database, stand_in: StandIn) -> None:
    await CostsStore(database).create(PROJECT, [NewCost("gpt-image-1", 0.01, 0.1)])
    stand_in.reply = lambda _body: answer(encoded(), usage=USAGE)

    made = (await run(CREATE, inputs=inputs(), user="ann")).data["imageCreate"]

    assert made["images"] == [
        {
            "digest": DIGEST,
            "name": "image-1.png",
            "contentType": "image/png",
            "sizeBytes": len(CHART),
            "url": f"/files/acme/chat/{DIGEST}",
        }
    ]
    assert made["response"]["data"][0]["b64_json"]["files"]["content"] == DIGEST
    assert made["response"]["usage"] == USAGE
    assert made["weaveCallId"]
    assert made["call"] == {
        "id": made["weaveCallId"],
        "traceName": "weave.image_generation_create",
        "status": "SUCCESS",
        "wbUserId": "ann",
        "totalTokens": 100,
        "totalCost": pytest.approx(9.1),
        "output": DIGEST,
    }


async def test_response_field_accepts_a_path(run: Run, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: answer(encoded())
    document = """
        mutation ($inputs: ImageGenerationRequestInputs!) {
            imageCreate(projectId: "acme/chat", inputs: $inputs) {
                digest: response(path: "data.0.b64_json.files.content")
            }
        }
    """

    assert (await run(document, inputs=inputs())).data["imageCreate"] == {"digest": DIGEST}


@pytest.mark.parametrize("track", [True, None])
async def test_image_call_is_stored_unless_tracking_is_off(
    run: Run, calls: CallsStore, stand_in: StandIn, track: object
) -> None:
    stand_in.reply = lambda _body: answer(encoded())

    kept = (await run(CREATE, inputs=inputs(), track=track)).data["imageCreate"]
    other = (await run(CREATE, inputs=inputs(), track=False)).data["imageCreate"]

    assert (bool(kept["weaveCallId"]), other["weaveCallId"], other["call"]) == (True, None, None)
    assert other["images"] == kept["images"]
    assert await calls.count(PROJECT) == 1


async def test_provider_error_is_in_the_response(run: Run, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: JSONResponse({"error": {"message": f"Not with {KEY}."}}, 401)

    made = await run(CREATE, inputs=inputs())

    assert made.errors == []
    result = made.data["imageCreate"]
    assert "401" in result["response"]["error"]
    assert KEY not in result["response"]["error"]
    assert (result["images"], result["weaveCallId"], result["call"]) == ([], None, None)


async def test_missing_providers_are_reported_in_the_response(schema: LoomSchema, database: Database) -> None:
    made = await running(schema, Context(Stores(database)))(CREATE, inputs=inputs())

    assert made.data["imageCreate"]["response"].keys() == {"error"}


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"n": 0}, "inputs.n"),
        ({"model": "dall-e-3", "n": 2}, "inputs.n"),
        ({"prompt": ""}, "inputs.prompt"),
        ({"model": ""}, "inputs.model"),
    ],
)
async def test_invalid_arguments_are_named(run: Run, stand_in: StandIn, changes: dict[str, Any], argument: str) -> None:
    made = await run(CREATE, inputs=inputs(**changes))

    assert made.code == "BAD_USER_INPUT"
    assert made.errors[0]["extensions"]["argument"] == argument
    assert stand_in.requests == []


async def test_file_size_limit_applies_to_images(
    schema: LoomSchema, database: Database, providers: EnvironmentProviders, stand_in: StandIn
) -> None:
    run = running(schema, Context(Stores(database, providers), max_file_bytes=20))
    stand_in.reply = lambda _body: answer(encoded())

    made = await run(CREATE, inputs=inputs())

    assert "it is larger than 20 bytes" in made.data["imageCreate"]["response"]["error"]


async def test_image_url_returns_the_image(
    mongodb_uri: str, database_name: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.base_url)
    stand_in.reply = lambda _body: answer(encoded())
    settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
    with live_server(create_app(settings), lifespan="on") as host:
        async with httpx.AsyncClient(base_url=f"http://{host}", timeout=TIMEOUT) as client:
            made = await client.post("/graphql", json={"query": CREATE, "variables": {"inputs": inputs()}})
            [image] = made.json()["data"]["imageCreate"]["images"]
            got = await client.get(image["url"])

    assert (got.status_code, got.headers["content-type"], got.content) == (200, "image/png", CHART)
