"""Tests of requests to providers through the real HTTP client: content, refusals and error messages."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpcore2
import pytest
from starlette.responses import JSONResponse, Response

from app.providers import EnvironmentProviders, client
from app.providers.client import headers_of
from app.providers.environment import MAX_ANSWER_BYTES
from app.providers.secrets import parse_hosts
from stores.providers import Endpoint, JsonObject, ProviderError, Providers
from tests.stand_in_provider import KEY, PNG, StandIn, stand_in_provider

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


def endpoint(base_url: str, **changes: Any) -> Endpoint:
    return Endpoint(**{"base_url": base_url, "api_key": KEY, "provider": "acme", "api_key_name": "ACME_KEY"} | changes)


async def error_of(providers: EnvironmentProviders, reached: Endpoint, model: str = "small") -> ProviderError:
    with pytest.raises(ProviderError) as refused:
        await providers.complete(reached, {"model": model, **HELLO})
    return refused.value


async def test_environment_adds_nothing_to_a_request(
    providers: EnvironmentProviders, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://of-the-server.test")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer of-the-server\nX-Of-The-Server: yes")

    await providers.complete(endpoint(stand_in.base_url, headers={"X-Team": "weavers"}), {"model": "small", **HELLO})
    await providers.complete(endpoint(stand_in.base_url, api_key=None), {"model": "small", **HELLO})

    with_key, without = [request.headers for request in stand_in.requests]
    plain = {"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"}
    assert with_key.keys() == {*plain, "authorization", "x-team"}
    assert without.keys() == plain
    assert with_key["user-agent"] == "loomql"
    assert "of-the-server" not in str(stand_in.requests)


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "content-length", "Transfer-Encoding", "Connection", "Proxy-Authorization", "X-Forwarded-For"),
        *("Upgrade", "Content_Length"),
    ],
)
async def test_routing_and_framing_headers_are_refused(
    providers: EnvironmentProviders, stand_in: StandIn, name: str
) -> None:
    error = await error_of(providers, endpoint(stand_in.base_url, headers={name: "evil"}))

    assert f"The extra header {name.lower()} cannot be set" in error.message
    assert stand_in.requests == []


@pytest.mark.parametrize("name", ["Helicone-Target-URL", "x_portkey-custom-host", "X-Team", "X-Anything"])
async def test_headers_with_a_server_key_need_the_operators_setting(stand_in: StandIn, name: str) -> None:
    # A gateway may read the target of the request from any header, and would send the key there.
    unnamed, named = EnvironmentProviders({}), EnvironmentProviders({}, gateways=parse_hosts(stand_in.base_url))
    ours = endpoint(stand_in.base_url, headers={name: "elsewhere"}, api_key_name="OPENAI_API_KEY")

    error = await error_of(unnamed, ours)
    await named.complete(ours, {"model": "small", **HELLO})

    origin = stand_in.base_url.removesuffix("/v1")
    assert f"The extra header {name.lower()} may not be sent to {origin}" in error.message
    assert f"LOOMQL_PROVIDER_HEADERS={origin}" in error.message
    [request] = stand_in.requests
    assert request.headers[name.lower()] == "elsewhere"
    for port in (unnamed, named):
        await port.close()


async def test_harmless_headers_and_headers_without_a_server_key_are_sent(stand_in: StandIn) -> None:
    port = EnvironmentProviders({})
    plain = endpoint(stand_in.base_url, headers={"OpenAI-Project": "acme"}, api_key_name="OPENAI_API_KEY")
    own = endpoint(stand_in.base_url, headers={"X-Team": "weavers"}, api_key_name=None)
    routed = endpoint(stand_in.base_url, headers={"x-litellm-api-base": "elsewhere"}, api_key_name=None)

    await port.complete(plain, {"model": "small", **HELLO})
    await port.complete(own, {"model": "small", **HELLO})
    assert "may not be sent" in (await error_of(port, routed)).message

    assert [request.headers.get("x-team") for request in stand_in.requests] == [None, "weavers"]
    await port.close()


@pytest.mark.parametrize(
    "base_url", ["https://api.openai.com/v1", "https://openrouter.ai/api/v1", "https://api.openai.com:443/v1"]
)
def test_providers_own_api_gets_all_request_headers(base_url: str) -> None:
    headers = headers_of(endpoint(base_url, headers={"X-Team": "weavers"}, api_key_name="OPENAI_API_KEY"))

    assert headers["X-Team"] == "weavers"


@pytest.mark.parametrize(("name", "value"), [("X\r\nHost", "a"), ("X-A", "a\r\nHost: b"), ("", "a"), ("X-A", "ü")])
async def test_invalid_headers_are_refused(
    providers: EnvironmentProviders, stand_in: StandIn, name: str, value: str
) -> None:
    assert "is none of HTTP" in (await error_of(providers, endpoint(stand_in.base_url, headers={name: value}))).message
    assert stand_in.requests == []


@pytest.mark.parametrize(
    ("model", "status", "expected"),
    [
        ("status-400", 400, "it does not take the request"),
        ("status-401", 401, "it refuses the key; check ACME_KEY in the server's environment"),
        ("status-403", 403, "it refuses the key; check ACME_KEY in the server's environment"),
        ("status-404", 404, "there is no such model, or no such base URL"),
        ("status-413", 413, "the request is too large for it"),
        ("status-429", 429, "it has enough requests for now"),
        ("status-500", 500, "it failed; ask again later"),
        ("redirect", 307, "leads elsewhere and is not followed"),
    ],
)
async def test_error_names_provider_model_status_and_fix(
    providers: EnvironmentProviders, stand_in: StandIn, model: str, status: int, expected: str
) -> None:
    error = await error_of(providers, endpoint(stand_in.base_url), model)

    assert error.message.startswith(f"acme (model {model}) answered {status}, ")
    assert expected in error.message
    assert error.status == status
    assert KEY not in str(vars(error)) + repr(error)
    if status != 307:
        assert "It is so for the key ***." in error.message


async def test_truncated_error_contains_no_part_of_a_key(providers: EnvironmentProviders, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: JSONResponse({"error": {"message": "x" * 480 + KEY}}, 400)

    assert (await error_of(providers, endpoint(stand_in.base_url))).message.endswith("x***")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"api_key_name": None}, "it refuses the key that was sent with the request"),
        ({"api_key": None, "headers": {"Authorization": "Bearer x"}}, "it refuses the key that was sent with"),
        ({"api_key": None}, "it wants a key"),
    ],
)
async def test_rejected_key_error_names_the_keys_owner(
    providers: EnvironmentProviders, stand_in: StandIn, changes: dict[str, Any], expected: str
) -> None:
    assert expected in (await error_of(providers, endpoint(stand_in.base_url, **changes), "status-401")).message


async def test_redirect_to_another_host_is_not_followed(providers: EnvironmentProviders, stand_in: StandIn) -> None:
    with stand_in_provider() as other:
        stand_in.redirects_to = other.base_url.replace("/v1", "/elsewhere")
        await error_of(providers, endpoint(stand_in.base_url), "redirect")

        assert other.requests == []


async def test_rate_limited_request_is_retried(providers: EnvironmentProviders, stand_in: StandIn) -> None:
    answer = await providers.complete(endpoint(stand_in.base_url), {"model": "limited-2", **HELLO})
    error = await error_of(providers, endpoint(stand_in.base_url), "limited-9")

    assert answer["choices"]
    assert stand_in.tries == {"limited-2": 3, "limited-9": 3}
    assert (error.status, error.retry_after_seconds) == (429, 0.0)


@pytest.mark.parametrize("model", ["status-500", "status-400", "cut", "slow-5", "no-json"])
async def test_request_that_may_have_run_is_not_retried(
    providers: EnvironmentProviders, stand_in: StandIn, model: str
) -> None:
    seconds = 0.3 if model == "slow-5" else 30
    await error_of(providers, endpoint(stand_in.base_url, timeout_seconds=seconds), model)

    assert len(stand_in.requests) == 1


async def test_unreachable_provider_is_reported(providers: EnvironmentProviders) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    nobody = await error_of(providers, endpoint(f"http://127.0.0.1:{port}/v1"))
    nowhere = await error_of(providers, endpoint("http://nowhere.invalid/v1", is_custom=True))

    assert nobody.message == (
        "acme (model small) cannot be reached; check the server's way to the network, and whether it is up."
    )
    assert nowhere.message == "acme (model small) cannot be reached; check its base URL, and whether it is up."


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("no-json", "the answer is not JSON"),
        ("no-completion", "the answer has no choices"),
        ("huge", f"larger than {MAX_ANSWER_BYTES:,} bytes"),
        ("packed", "is packed (Content-Encoding)"),
        ("cut", "broke off the connection in the middle of its answer"),
        ("slow-5", "did not answer within 0.3 seconds"),
    ],
)
async def test_invalid_provider_response_is_reported(
    providers: EnvironmentProviders, stand_in: StandIn, model: str, expected: str
) -> None:
    # Only the slow answer needs a short timeout; a busy machine takes long for the huge one.
    seconds = 0.3 if model == "slow-5" else 30
    error = await error_of(providers, endpoint(stand_in.base_url, timeout_seconds=seconds), model)

    assert expected in error.message
    assert error.message.startswith(f"acme (model {model})")


async def test_requests_timeout_is_capped_by_the_server(stand_in: StandIn) -> None:
    providers = EnvironmentProviders({}, timeout_seconds=0.2)

    whole = await error_of(providers, endpoint(stand_in.base_url, timeout_seconds=600), "slow-5")
    stand_in.reply = lambda _body: "word " * 1000
    with pytest.raises(ProviderError) as dripping:
        async for _ in providers.stream(endpoint(stand_in.base_url, timeout_seconds=600), {"model": "drip", **HELLO}):
            pass
    await providers.close()

    assert "within 0.2 seconds" in whole.message
    assert "within 0.2 seconds" in dripping.value.message


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",  # noqa: S104 -- not bound
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "[fe80::1]",
        "10.0.0.1",
        "192.168.0.1",
        "224.0.0.1",
    ],
)
async def test_custom_provider_cannot_reach_internal_addresses(
    providers: EnvironmentProviders, stand_in: StandIn, host: str
) -> None:
    port = stand_in.base_url.rpartition(":")[2].removesuffix("/v1")

    error = await error_of(providers, endpoint(f"http://{host}:{port}/v1", is_custom=True))

    assert "is in the server's own network" in error.message
    assert "LOOMQL_ALLOW_PRIVATE_PROVIDERS=true" in error.message
    assert stand_in.requests == []


@pytest.mark.parametrize("host", ["0177.0.0.1", "256.1.1.1", "1.2.3.4.", "xn--a.test", "[::1::]", "[1:2]", "-"])
async def test_invalid_host_is_reported(providers: EnvironmentProviders, host: str) -> None:
    error = await error_of(providers, endpoint(f"http://{host}:9/v1", is_custom=True))

    assert error.message.startswith("acme (model small)")


Resolve = Callable[[list[list[str]]], list[str]]


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Return a function that makes the resolver return the given addresses, one list per look-up.

    That function returns the list of names that were looked up.
    """

    def resolving(answers: list[list[str]]) -> list[str]:
        asked: list[str] = []

        async def getaddrinfo(host: Any, port: Any, **_options: Any) -> list[Any]:
            asked.append(str(host))
            addresses = answers.pop(0)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
        return asked

    return resolving


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:10.0.0.1"]])
async def test_name_that_resolves_to_an_internal_address_is_refused(
    providers: EnvironmentProviders, stand_in: StandIn, resolving: Resolve, addresses: list[str]
) -> None:
    resolved = resolving([addresses])
    port = stand_in.base_url.rpartition(":")[2].removesuffix("/v1")

    error = await error_of(providers, endpoint(f"http://llm.evil.test:{port}/v1", is_custom=True))

    assert "llm.evil.test is in the server's own network" in error.message
    assert not any(address in error.message for address in addresses)
    assert resolved == ["llm.evil.test"]
    assert stand_in.requests == []


async def test_checked_address_is_the_connected_address(
    providers: EnvironmentProviders, stand_in: StandIn, resolving: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first look-up returns a permitted address. Any later one returns the loopback address, as in DNS rebinding.
    resolved = resolving([["203.0.113.5"], ["127.0.0.1"], ["127.0.0.1"]])
    connected: list[str] = []
    real = httpcore2.AnyIOBackend.connect_tcp

    async def connect_tcp(backend: Any, host: str, *rest: Any, **options: Any) -> Any:
        connected.append(host)
        return await real(backend, "127.0.0.1", *rest, **options)

    monkeypatch.setattr(client, "is_public", lambda address: address == "203.0.113.5")
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect_tcp)
    port = stand_in.base_url.rpartition(":")[2].removesuffix("/v1")

    await providers.complete(endpoint(f"http://llm.test:{port}/v1", is_custom=True), {"model": "small", **HELLO})

    assert (resolved, connected) == (["llm.test"], ["203.0.113.5"])
    assert stand_in.requests[0].headers["host"] == f"llm.test:{port}"


async def test_images_are_generated_and_downloaded(providers: EnvironmentProviders, stand_in: StandIn) -> None:
    request: JsonObject = {"model": "dall-e-3", "prompt": "A loom", "n": 2}

    answer = await providers.generate_images(endpoint(stand_in.base_url), request)
    picture = await providers.download(endpoint(stand_in.base_url), answer["data"][1]["url"], len(PNG))

    assert (len(answer["data"]), picture) == (2, PNG)
    assert stand_in.bodies == [request]


@pytest.mark.parametrize(
    ("url", "max_bytes", "expected"),
    [
        ("{}/pictures/0.png", 10, "larger than 10 bytes"),
        ("{}/nothing", 1000, "answered 404"),
        ("http://127.0.0.1:9/x.png", 1000, "is in the server's own network"),
        ("http://169.254.169.254/latest", 1000, "is in the server's own network"),
        ("file:///etc/passwd", 1000, "is no URL"),
        ("http://a@127.0.0.1/", 1000, "is no URL"),
        ("data:image/png;base64,AAAA", 1000, "is no URL"),
        ("http://nowhere.invalid/x.png", 1000, "cannot be downloaded from http://nowhere.invalid"),
    ],
)
async def test_failed_image_download_is_reported(
    providers: EnvironmentProviders, stand_in: StandIn, url: str, max_bytes: int, expected: str
) -> None:
    with pytest.raises(ProviderError, match=expected):
        await providers.download(endpoint(stand_in.base_url), url.format(stand_in.base_url), max_bytes)


async def test_download_that_makes_no_progress_fails_before_the_timeout(
    providers: EnvironmentProviders, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.ProviderClient, "stall_seconds", 0.2)

    with pytest.raises(ProviderError, match="cannot be downloaded"):
        async with asyncio.timeout(10):
            await providers.download(endpoint(stand_in.base_url), f"{stand_in.base_url}/stalled", 1000)


async def test_error_as_deeply_nested_json_is_reported_as_text(
    providers: EnvironmentProviders, stand_in: StandIn
) -> None:
    stand_in.reply = lambda _body: Response("[" * 100_000, 400, media_type="application/json")

    error = await error_of(providers, endpoint(stand_in.base_url), "deep")

    assert error.status == 400
    assert "[[[[" in error.message


async def test_error_in_another_charset_is_decoded(providers: EnvironmentProviders, stand_in: StandIn) -> None:
    stand_in.reply = lambda _body: Response("né".encode("latin-1"), 400, media_type="text/plain; charset=latin-1")

    error = await error_of(providers, endpoint(stand_in.base_url), "odd")

    assert "né" in error.message


@pytest.mark.parametrize("charset", ["base64", "rot13", "idna", "unheard-of"])
async def test_error_in_a_charset_that_is_none_of_text_is_read_as_utf_8(
    providers: EnvironmentProviders, stand_in: StandIn, charset: str
) -> None:
    stand_in.reply = lambda _body: Response("né".encode(), 400, media_type=f"text/plain; charset={charset}")

    error = await error_of(providers, endpoint(stand_in.base_url), "odd")

    assert error.status == 400
    assert "né" in error.message


async def test_image_url_of_a_custom_provider_cannot_reach_the_servers_network(
    providers: EnvironmentProviders, stand_in: StandIn
) -> None:
    custom = endpoint("https://llm.example.com/v1", is_custom=True)

    with pytest.raises(ProviderError, match="is in the server's own network"):
        await providers.download(custom, f"{stand_in.base_url}/pictures/0.png", 1000)
    assert stand_in.requests == []


async def test_invalid_images_are_reported(providers: EnvironmentProviders, stand_in: StandIn) -> None:
    with pytest.raises(ProviderError, match="the answer has no data, so there are no images in it"):
        await providers.generate_images(endpoint(stand_in.base_url), {"model": "no-completion", "prompt": "A loom"})


def test_provider_library_is_imported_on_first_use() -> None:
    program = (
        "import sys, app.server; print([name for name in sys.modules if name in ('openai', 'httpx2', 'httpcore2')])"
    )

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


async def test_missing_library_error_says_what_to_install(
    providers: EnvironmentProviders, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "app.providers.client", None)

    assert (await error_of(providers, endpoint(stand_in.base_url))).message == (
        "Completions and images need an HTTP client library on the server: pip install 'loomql[llm]'."
    )


async def test_process_without_providers_reports_it() -> None:
    none, reached = Providers(), Endpoint("https://llm.test")

    assert (none.secret("A"), none.secret_at("A", "https://b"), none.base_url("openai")) == (None, None, None)
    with pytest.raises(ProviderError, match="calls no model providers"):
        await none.complete(reached, {})
    with pytest.raises(ProviderError, match="calls no model providers"):
        await anext(none.stream(reached, {}))
    with pytest.raises(ProviderError, match="calls no model providers"):
        await none.generate_images(reached, {})
    with pytest.raises(ProviderError, match="calls no model providers"):
        await none.download(reached, "https://llm.test/x.png", 5)
