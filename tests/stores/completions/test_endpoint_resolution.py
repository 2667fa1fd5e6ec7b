"""Tests of how a model's name, or objects of the project, lead to the provider's endpoint."""

from collections.abc import Mapping
from typing import Any

import pytest

from app.providers import EnvironmentProviders
from app.providers.secrets import parse_grants, parse_hosts
from stores.calls import CallsStore
from stores.completions import CompletionsStore
from stores.completions.endpoint_resolution import KNOWN_PROVIDERS, EndpointResolver, ResolvedModel
from stores.database import Database
from stores.objects import ObjectsStore, ObjectVersion
from stores.providers import ProviderError
from tests.stand_in_provider import StandIn

PROJECT = "acme/support"
ACME = {"base_url": "https://llm.acme.test/v1", "api_key_name": "ACME_KEY", "extra_headers": {"X-Team": "weavers"}}


def endpoints(objects: ObjectsStore, environment: Mapping[str, str], grants: str = "") -> EndpointResolver:
    return EndpointResolver(objects, EnvironmentProviders(environment, parse_grants(grants)))


async def create_provider(
    objects: ObjectsStore, name: str = "acme", model: str = "small", **changes: object
) -> tuple[str, str]:
    """Store a custom provider and a model of it, and return the digests of both."""
    provider = ObjectVersion(PROJECT, name, ACME | changes, builtin_object_class="Provider")
    digest = await objects.create(provider)
    value = {"provider": digest, "max_tokens": 1000, "name": model}
    return digest, await objects.create(
        ObjectVersion(PROJECT, f"{name}-{model}".replace("/", "_"), value, builtin_object_class="ProviderModel")
    )


@pytest.mark.parametrize("provider", list(KNOWN_PROVIDERS))
async def test_known_provider_prefixes_its_model(objects: ObjectsStore, provider: str) -> None:
    known = KNOWN_PROVIDERS[provider]

    for secret in known.secrets:
        reached = await endpoints(objects, {secret: "the-key"}).resolve(PROJECT, f"{provider}/some/model")

        assert (reached.endpoint.base_url, reached.endpoint.api_key) == (known.base_url, "the-key")
        assert (reached.model, reached.endpoint.is_custom) == ("some/model", False)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"),
        ("o3-mini", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-pro", "gemini"),
        ("mistral-large-latest", "mistral"),
        ("deepseek-chat", "deepseek"),
        ("grok-4", "xai"),
        ("sonar-pro", "perplexity"),
    ],
)
async def test_models_of_some_providers_need_no_prefix(objects: ObjectsStore, model: str, provider: str) -> None:
    environment = {secret: known.name for known in KNOWN_PROVIDERS.values() for secret in known.secrets}

    reached = await endpoints(objects, environment).resolve(PROJECT, model)

    assert (reached.endpoint.api_key, reached.model) == (provider, model)


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("groq/llama", "GROQ_API_KEY"),
        ("gemini-2.5-pro", "GEMINI_API_KEY or GOOGLE_API_KEY"),
    ],
)
async def test_missing_key_is_named(objects: ObjectsStore, model: str, missing: str) -> None:
    with pytest.raises(ProviderError, match=f"is missing: set {missing} in the server's environment"):
        await endpoints(objects, {"OTHER_API_KEY": "x", "OPENAI_API_KEY": " "}).resolve(PROJECT, model)


@pytest.mark.parametrize("model", ["nobody/small", "small", "/gpt-4o", "openai/", "weave", "GPT-4o"])
async def test_unknown_model_error_lists_known_providers(objects: ObjectsStore, model: str) -> None:
    with pytest.raises(ProviderError, match=r"There is no model .*openai, anthropic, gemini.*custom::<provider>"):
        await endpoints(objects, {"OPENAI_API_KEY": "x"}).resolve(PROJECT, model)


@pytest.mark.parametrize("model", ["small", "meta-llama/Llama-3", "openai/small", "gpt-4o"])
async def test_server_base_url_serves_all_models_and_may_need_no_key(objects: ObjectsStore, model: str) -> None:
    reached = await endpoints(objects, {"OPENAI_BASE_URL": "http://ollama:11434/v1"}).resolve(PROJECT, model)

    assert reached.endpoint.base_url == "http://ollama:11434/v1"
    assert (reached.endpoint.api_key, reached.model) == (None, model.removeprefix("openai/"))


async def test_coreweave_uses_the_callers_key(objects: ObjectsStore) -> None:
    headers = {"api_key": "mine", "OpenAI-Project": "acme/support"}

    reached = await endpoints(objects, {}).resolve(PROJECT, "coreweave/openai/gpt-oss-20b", headers)
    with pytest.raises(ProviderError, match=r'set WANDB_API_KEY .* send your own in extraHeaders: {"api_key": "…"}'):
        await endpoints(objects, {}).resolve(PROJECT, "coreweave/openai/gpt-oss-20b")

    assert (reached.endpoint.api_key, reached.model) == ("mine", "openai/gpt-oss-20b")
    assert reached.endpoint.headers == {"OpenAI-Project": "acme/support"}


@pytest.mark.parametrize("by", ["name", "ref"])
async def test_custom_model_is_found_in_the_project(objects: ObjectsStore, by: str) -> None:
    _, digest = await create_provider(objects, model="org/small")
    name = "custom::acme::org/small" if by == "name" else f"weave:///{PROJECT}/object/acme-org_small:{digest}"
    found = endpoints(objects, {"ACME_KEY": "sk-acme"}, "ACME_KEY@llm.acme.test")

    if by == "name":
        reached = await found.resolve(PROJECT, name)
    else:
        # A model found by ref may name its provider by ref; a model found by name has its provider's digest.
        provider, _ = await create_provider(objects, model="org/small")
        value = {"provider": f"weave:///{PROJECT}/object/acme:{provider}", "max_tokens": 5, "name": "org/small"}
        version = ObjectVersion(PROJECT, "acme-org_small", value, builtin_object_class="ProviderModel")
        digest = await objects.create(version)
        reached = await found.resolve(PROJECT, f"weave:///{PROJECT}/object/acme-org_small:{digest}")

    assert (reached.model, reached.endpoint.api_key, reached.endpoint.is_custom) == ("org/small", "sk-acme", True)
    assert (reached.endpoint.base_url, reached.endpoint.headers) == (ACME["base_url"], ACME["extra_headers"])


async def test_custom_model_of_another_project_is_unknown(objects: ObjectsStore) -> None:
    _, digest = await create_provider(objects)
    found = endpoints(objects, {"ACME_KEY": "sk-acme"}, "ACME_KEY@llm.acme.test")

    for model in ("custom::acme::small", f"weave:///{PROJECT}/object/acme-small:{digest}"):
        with pytest.raises(ProviderError):
            await found.resolve("acme/other", model)


async def reaching(objects: ObjectsStore, environment: Mapping[str, str], grants: str = "") -> ResolvedModel:
    return await endpoints(objects, environment, grants).resolve(PROJECT, "custom::acme::small")


async def test_other_caller_cannot_send_secrets_to_own_urls(objects: ObjectsStore) -> None:
    environment = {"OPENAI_API_KEY": "sk-openai", "ACME_KEY": "sk-acme"}

    for name in ("OPENAI_API_KEY", "ACME_KEY", "HOME", "NOT_THERE"):
        await create_provider(objects, api_key_name=name, base_url="https://evil.test/v1")
        for grants in ("", "ACME_KEY@llm.acme.test, OPENAI_API_KEY@api.acme.test"):
            with pytest.raises(ProviderError) as refused:
                await reaching(objects, environment, grants)

            # The messages are equal, so that a caller cannot find out which variables the environment has.
            assert refused.value.message == (
                f"The secret '{name}' may not be sent to https://evil.test. Ask the server's administrator to set "
                f"LOOMQL_PROVIDER_SECRETS={name}@evil.test, and {name} in the server's environment."
            )


@pytest.mark.parametrize(
    ("base_url", "grants", "is_allowed"),
    [
        ("https://llm.acme.test/v1", "ACME_KEY@llm.acme.test", True),
        ("https://LLM.acme.test:443/v2", "OTHER@x.test ,ACME_KEY@llm.acme.test", True),
        ("http://llm.acme.test/v1", "ACME_KEY@llm.acme.test", False),
        ("https://llm.acme.test:8443/v1", "ACME_KEY@llm.acme.test", False),
        ("https://llm.acme.test.evil.test/v1", "ACME_KEY@llm.acme.test", False),
        ("http://10.0.0.5:8000/v1", "ACME_KEY@http://10.0.0.5:8000", True),
    ],
)
async def test_secret_is_sent_only_to_allowed_hosts(
    objects: ObjectsStore, base_url: str, grants: str, *, is_allowed: bool
) -> None:
    await create_provider(objects, base_url=base_url)

    if is_allowed:
        reached = await reaching(objects, {"ACME_KEY": "sk-acme"}, grants)
        assert (reached.endpoint.api_key, reached.endpoint.base_url) == ("sk-acme", base_url)
    else:
        with pytest.raises(ProviderError, match="may not be sent to"):
            await reaching(objects, {"ACME_KEY": "sk-acme"}, grants)


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://llm.acme.test",
        "llm.acme.test/v1",
        "https://user:word@llm.acme.test/v1",
        "https://llm.acme.test\\@evil.test/v1",
        "https://llm.acme.test/v1?key=x",
        "https://llm.acme.test/v1#x",
        "https://llm.acme.test /v1",
        "https://",
        "https://bücher.test/v1",
        "https://llm.acme.test:99999/v1",
        "https://llm.acme.test/" + "x" * 9000,
    ],
)
async def test_ambiguous_base_url_is_refused(objects: ObjectsStore, base_url: str) -> None:
    await create_provider(objects, base_url=base_url)

    with pytest.raises(ProviderError, match="base URL of the provider cannot be used"):
        await reaching(objects, {"ACME_KEY": "sk-acme"}, "ACME_KEY@llm.acme.test")


async def test_caller_with_a_key_needs_no_server_key(objects: ObjectsStore) -> None:
    await create_provider(objects)
    found = endpoints(objects, {"ACME_KEY": "sk-acme", "OPENAI_API_KEY": "sk-openai"})

    for model in ("custom::acme::small", "openai/small"):
        by_key = await found.resolve(PROJECT, model, {"API_key": "mine", "X-Team": "ada"})
        by_header = await found.resolve(PROJECT, model, {"authorization": "Bearer mine"})

        assert (by_key.endpoint.api_key, by_key.endpoint.headers["X-Team"]) == ("mine", "ada")
        assert "API_key" not in by_key.endpoint.headers
        assert (by_header.endpoint.api_key, by_header.endpoint.headers["authorization"]) == (None, "Bearer mine")


async def test_custom_provider_may_need_no_key(objects: ObjectsStore) -> None:
    await create_provider(objects, api_key_name="")

    assert (await reaching(objects, {})).endpoint.api_key is None


@pytest.mark.parametrize(
    ("environment", "changes", "message"),
    [
        ({}, {}, "Provider acme needs the secret ACME_KEY; set it"),
        (
            {"ACME_KEY": "x"},
            {"extra_headers": {"authorization": "Bearer x"}},
            "'authorization' in extra_headers",
        ),
    ],
)
async def test_unusable_custom_provider_error_has_a_reason(
    objects: ObjectsStore, environment: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    await create_provider(objects, **changes)

    with pytest.raises(ProviderError, match=message):
        await reaching(objects, environment, "ACME_KEY@llm.acme.test")


async def test_missing_deleted_and_other_objects_are_named(objects: ObjectsStore) -> None:
    found = endpoints(objects, {"ACME_KEY": "x"}, "ACME_KEY@llm.acme.test")
    messages = []
    for step in ("nothing", "another class", "no provider", "deleted"):
        match step:
            case "another class":
                await objects.create(ObjectVersion(PROJECT, "acme-small", {"hello": 1}))
            case "no provider":
                value = {"provider": "a" * 43, "max_tokens": 5}
                version = ObjectVersion(PROJECT, "acme-small", value, builtin_object_class="ProviderModel")
                await objects.create(version)
            case "deleted":
                await create_provider(objects)
                await objects.delete(PROJECT, "acme")
        with pytest.raises(ProviderError) as refused:
            await found.resolve(PROJECT, "custom::acme::small")
        messages.append(refused.value.message)

    assert "object acme-small:latest not found; a ProviderModel" in messages[0]
    assert messages[1] == "Object acme-small:latest is not a ProviderModel."
    assert f"object acme:{'a' * 43} not found; a Provider of this project is needed" in messages[2]
    assert "acme:v0 was deleted at" in messages[3]


async def test_model_error_is_returned_and_no_call_is_stored(
    database: Database, objects: ObjectsStore, calls: CallsStore
) -> None:
    completions = CompletionsStore(database, objects, calls, EnvironmentProviders({}))

    for model in ("nobody/small", "gpt-4o", "custom::acme", "weave:///acme/support/call/x", "weave:///"):
        completion = await completions.create(PROJECT, {"model": model, "messages": []})

        assert completion.call_id is None
        assert completion.response.keys() == {"error"}
    assert await database.calls.count_documents({}) == 0


async def test_loopback_custom_provider_is_refused_unless_allowed(
    database: Database, objects: ObjectsStore, calls: CallsStore, stand_in: StandIn
) -> None:
    await create_provider(objects, base_url=stand_in.base_url, extra_headers={"X-Team": "weavers"})
    origin = stand_in.base_url.removesuffix("/v1")
    created = []
    for allow_private in (False, True):
        port = EnvironmentProviders(
            {"ACME_KEY": "sk-acme"},
            parse_grants(f"ACME_KEY@{origin}"),
            allow_private=allow_private,
            gateways=parse_hosts(origin),
        )
        completions = CompletionsStore(database, objects, calls, port)
        created.append(await completions.create(PROJECT, {"model": "custom::acme::small", "messages": []}))
        await port.close()

    [request] = stand_in.requests
    assert "127.0.0.1 is in the server's own network" in created[0].response["error"]
    assert "LOOMQL_ALLOW_PRIVATE_PROVIDERS" in created[0].response["error"]
    assert created[1].response["choices"][0]["message"]["content"] == "You said: nothing"
    assert (request.headers["authorization"], request.headers["x-team"]) == ("Bearer sk-acme", "weavers")
    assert request.body["model"] == "small"
