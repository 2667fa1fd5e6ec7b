"""Tests of the requests to providers for each model, and of inputs that are refused first."""

from typing import Any

import pytest

from app.providers import EnvironmentProviders
from stores.calls import CallsStore
from stores.completions.endpoint_resolution import EndpointResolver
from stores.errors import BadInputError
from stores.files import FilesStore
from stores.images import ImageInputs, ImagesStore
from stores.objects import ObjectsStore, ObjectVersion
from tests.stand_in_provider import KEY, StandIn
from tests.stores.calls.builders import PROJECT
from tests.stores.images.pictures import answer, encoded

SQUARE = {"size": "1024x1024"}
MINI = "gpt-image-1-mini"
DALL_E_3 = {"quality": "standard", "style": "natural", "response_format": "b64_json", **SQUARE}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (ImageInputs("dall-e-3", "a weft"), {"model": "dall-e-3", "n": 1, **DALL_E_3}),
        (ImageInputs("openai/dall-e-3", "a weft", 1), {"model": "dall-e-3", "n": 1, **DALL_E_3}),
        (ImageInputs("dall-e-2", "a weft", 4), {"model": "dall-e-2", "n": 4, "response_format": "b64_json", **SQUARE}),
        (ImageInputs("gpt-image-1", "a weft", 10), {"model": "gpt-image-1", "n": 10, "quality": "high", **SQUARE}),
        (ImageInputs(f"openai/{MINI}", "a weft"), {"model": MINI, "n": 1, "quality": "high", **SQUARE}),
        (ImageInputs("painter", "a weft", 2), {"model": "painter", "n": 2}),
    ],
    ids=lambda each: each.model if isinstance(each, ImageInputs) else "",
)  # fmt: skip
async def test_each_model_gets_its_supported_parameters(
    images: ImagesStore, stand_in: StandIn, inputs: ImageInputs, expected: dict[str, Any]
) -> None:
    made = await images.create(PROJECT, inputs)

    [request] = stand_in.requests
    assert request.body == {"prompt": "a weft", **expected}
    assert (request.path, request.headers["authorization"]) == ("/v1/images/generations", f"Bearer {KEY}")
    assert len(made.pictures) == expected["n"]


async def test_custom_provider_is_called_at_its_own_url(
    calls: CallsStore, objects: ObjectsStore, files: FilesStore, stand_in: StandIn
) -> None:
    provider = {"base_url": stand_in.base_url, "api_key_name": "", "extra_headers": {"x-team": "weavers"}}
    digest = await objects.create(ObjectVersion(PROJECT, "loom", provider, builtin_object_class="Provider"))
    model = {"name": "sd-xl", "provider": digest, "max_tokens": 1}
    await objects.create(ObjectVersion(PROJECT, "loom-sd-xl", model, builtin_object_class="ProviderModel"))
    providers = EnvironmentProviders({}, allow_private=True)
    images = ImagesStore(calls, files, EndpointResolver(objects, providers), providers)
    stand_in.reply = lambda _body: answer(encoded())

    made = await images.create(PROJECT, ImageInputs("custom::loom::sd-xl", "a weft"))
    await providers.close()

    assert len(made.pictures) == 1
    assert stand_in.bodies == [{"model": "sd-xl", "prompt": "a weft", "n": 1}]
    assert stand_in.requests[0].headers["x-team"] == "weavers"


@pytest.mark.parametrize(
    ("inputs", "argument", "message"),
    [
        (ImageInputs("", "x"), "inputs.model", "is required: the name of a model"),
        (ImageInputs("m" * 1_025, "x"), "inputs.model", "has 1,025 characters; the limit is 1,024"),
        (ImageInputs("dall-e-3", ""), "inputs.prompt", "is required: a description of the image"),
        (ImageInputs("dall-e-3", "x" * 10_000_000), "inputs.prompt", "10,000,000 characters; the limit is 100,000"),
        (ImageInputs("dall-e-3", "weave-trace-internal:///x"), "inputs.prompt", "is reserved for internal refs"),
        (ImageInputs("dall-e-2", "x", 0), "inputs.n", "0 images are not allowed; request 1 to 10"),
        (ImageInputs("dall-e-2", "x", -1), "inputs.n", "-1 images are not allowed; request 1 to 10"),
        (ImageInputs("dall-e-2", "x", 11), "inputs.n", "11 images are not allowed; request 1 to 10"),
        (ImageInputs("dall-e-3", "x", 2), "inputs.n", "dall-e-3 makes one image per request"),
    ],
)
async def test_invalid_inputs_are_refused_before_any_request(
    images: ImagesStore, calls: CallsStore, stand_in: StandIn, inputs: ImageInputs, argument: str, message: str
) -> None:
    with pytest.raises(BadInputError, match=message) as raised:
        await images.create(PROJECT, inputs)

    assert raised.value.argument == argument
    assert stand_in.requests == []
    assert await calls.count(PROJECT) == 0


async def test_invalid_project_or_user_is_refused(images: ImagesStore, stand_in: StandIn) -> None:
    with pytest.raises(BadInputError, match="is not a project id"):
        await images.create("acme", ImageInputs("dall-e-3", "x"))
    with pytest.raises(BadInputError, match="has 1,025 characters") as raised:
        await images.create(PROJECT, ImageInputs("dall-e-3", "x"), wb_user_id="x" * 1_025)

    assert raised.value.argument == "wb_user_id"
    assert stand_in.requests == []


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("dall-e-3", "The API key of openai is missing: set OPENAI_API_KEY in the server's environment"),
        ("painter", "There is no model 'painter'"),
        ("custom::loom::sd-xl", "a ProviderModel of this project is needed"),
    ],
)
async def test_configuration_error_is_returned_in_the_response(
    calls: CallsStore, objects: ObjectsStore, files: FilesStore, model: str, part: str
) -> None:
    providers = EnvironmentProviders({})
    images = ImagesStore(calls, files, EndpointResolver(objects, providers), providers)

    made = await images.create(PROJECT, ImageInputs(model, "x"))

    assert made.response.keys() == {"error"}
    assert part in made.response["error"]
    assert (made.call_id, made.pictures, await calls.count(PROJECT)) == (None, [], 0)
