"""Tests of security headers and of refused origins and hosts at every endpoint of a real server."""

from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.app.endpoints import ENDPOINTS, PROJECT, Endpoint, Server, every_endpoint, serving
from tests.database_pool import DatabasePool

APP: Final = "https://app.acme.com"
EVIL: Final = "https://evil.example"
SAFE: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
PREFLIGHT: Final = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


@pytest.fixture(scope="module")
def names(databases: DatabasePool) -> Iterator[str]:
    name = databases.take()
    yield name
    databases.release(name)


@pytest.fixture(scope="module")
def plain(mongodb_uri: str, names: str) -> Iterator[Server]:
    yield from serving(mongodb_uri, names)


@pytest.fixture(scope="module")
def shared(mongodb_uri: str, names: str) -> Iterator[Server]:
    yield from serving(mongodb_uri, names, cors_origins=APP, allowed_hosts="loom.acme.com")


def cors_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@every_endpoint
def test_every_response_has_security_headers(plain: Server, endpoint: Endpoint) -> None:
    answer = endpoint.send(plain.client)

    assert answer.status_code in {endpoint.status, 200}
    assert {name: answer.headers.get(name) for name in SAFE} == SAFE
    assert cors_of(answer) == {}


@pytest.mark.parametrize("path", ["/nothing", "/healthz", "/weave/none", f"/files/{PROJECT}/none"])
def test_every_refusal_has_security_headers(plain: Server, path: str) -> None:
    answer = plain.client.get(path)

    assert {name: answer.headers.get(name) for name in SAFE} == SAFE


def test_file_response_cannot_act_as_a_page(plain: Server) -> None:
    stored = plain.client.put(f"/files/{PROJECT}", content=b"<svg onload=alert(1)>", params={"name": "x.svg"})
    file = plain.client.get(stored.json()["url"])

    assert file.headers["content-security-policy"] == "sandbox"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["x-frame-options"] == "DENY"
    assert file.headers["cache-control"] == "private, max-age=31536000, immutable"


@every_endpoint
@pytest.mark.parametrize(
    "headers", [{"origin": EVIL}, {"origin": "null"}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}]
)
def test_cross_origin_page_is_refused_at_every_endpoint(
    plain: Server, endpoint: Endpoint, headers: dict[str, str]
) -> None:
    answer = endpoint.send(plain.client, **headers)

    assert answer.status_code == 403
    assert "LOOMQL_CORS_ORIGINS" in answer.text
    assert endpoint.code_of(answer) == (None if endpoint.name in {"otlp", "logs", "weave"} else "FORBIDDEN")


@every_endpoint
def test_same_origin_page_is_answered(plain: Server, endpoint: Endpoint) -> None:
    answer = endpoint.send(plain.client, origin=f"http://{plain.host}", sec_fetch_site="same-origin")

    assert answer.status_code in {endpoint.status, 200}


def test_cross_site_link_opens_the_page(plain: Server) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "accept": "text/html"}

    assert plain.client.get("/graphql", headers=followed).headers["content-type"].startswith("text/html")
    assert plain.client.post("/graphql", headers=followed, json={"query": "{ __typename }"}).status_code == 403


def test_preflight_is_refused_without_allowed_origins(plain: Server) -> None:
    answer = plain.client.options("/graphql", headers={"origin": APP, **PREFLIGHT})

    assert answer.status_code == 403
    assert cors_of(answer) == {}


@every_endpoint
def test_allowed_origin_may_send_requests_without_credentials(shared: Server, endpoint: Endpoint) -> None:
    headers = {"origin": APP, "sec-fetch-site": "cross-site", **PREFLIGHT}
    preflight = shared.client.options(endpoint.path.partition("?")[0], headers=headers)
    answer = endpoint.send(shared.client, origin=APP, sec_fetch_site="cross-site")

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == APP
    assert preflight.headers["access-control-max-age"] == "7200"
    assert "Authorization" in preflight.headers["access-control-allow-headers"].split(", ")
    assert endpoint.method in preflight.headers["access-control-allow-methods"].split(", ")
    assert answer.status_code in {endpoint.status, 200}
    assert answer.headers["access-control-allow-origin"] == APP
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in {*preflight.headers, *answer.headers}


@every_endpoint
def test_other_origin_is_not_allowed(shared: Server, endpoint: Endpoint) -> None:
    preflight = shared.client.options(endpoint.path, headers={"origin": EVIL, **PREFLIGHT})
    answer = endpoint.send(shared.client, origin=EVIL)

    assert (preflight.status_code, answer.status_code) == (403, 403)
    assert cors_of(preflight) == cors_of(answer) == {}
    assert "Origin" in answer.headers["vary"]


def test_wildcard_allows_every_origin_without_credentials(mongodb_uri: str, database_name: str) -> None:
    for server in serving(mongodb_uri, database_name, cors_origins="*"):
        answer = ENDPOINTS[0].send(server.client, origin=EVIL)

        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_cross_origin_websocket_is_refused(plain: Server, shared: Server) -> None:
    for origin in (EVIL, "null", "http://127.0.0.1:1", APP):
        with pytest.raises(InvalidStatus, match="403"):
            async with plain.socket(origin=origin):
                pass
    async with shared.socket(origin=APP), plain.socket(origin=f"http://{plain.host}"):
        pass


@every_endpoint
def test_other_host_name_is_refused_on_a_server_without_keys(plain: Server, endpoint: Endpoint) -> None:
    # The browser sees this after DNS rebinding, when a page's own host name resolves to 127.0.0.1.
    port = plain.host.partition(":")[2]
    rebound = endpoint.send(
        plain.client, host=f"evil.example:{port}", origin=f"http://evil.example:{port}", sec_fetch_site="same-origin"
    )

    assert rebound.status_code == 403
    assert "LOOMQL_ALLOWED_HOSTS" in rebound.text


def test_metrics_refuse_another_host_name_and_health_accepts_it(plain: Server, shared: Server) -> None:
    def statuses(server: Server, host: str) -> list[int]:
        paths = ("/metrics", "/healthz", "/readyz")
        return [server.client.get(path, headers={"host": host}).status_code for path in paths]

    assert statuses(plain, "evil.example") == [403, 200, 200]
    assert statuses(plain, "localhost:9") == statuses(plain, "127.0.0.1") == [200, 200, 200]
    assert statuses(shared, "loom.acme.com") == [200, 200, 200]
    assert statuses(shared, "evil.example") == [403, 200, 200]
    assert "LOOMQL_ALLOWED_HOSTS" in plain.client.get("/metrics", headers={"host": "evil.example"}).text


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "[::1]:8000", "127.0.0.1", "127.9.9.9", "loom.localhost:80"]
)
def test_loopback_names_are_accepted(plain: Server, host: str) -> None:
    assert ENDPOINTS[0].send(plain.client, host=host).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[half", "a@b"])
def test_lookalikes_of_loopback_names_are_refused(plain: Server, host: str) -> None:
    assert ENDPOINTS[0].send(plain.client, host=host).status_code in {400, 403}
    assert plain.client.get("/healthz", headers={"host": "evil.example"}).status_code == 200


async def test_websocket_with_another_host_name_is_refused(plain: Server, shared: Server) -> None:
    for server, host, opens in ((plain, "evil.example", False), (shared, "loom.acme.com", True)):
        address, port = server.host.split(":")
        opening = connect(f"ws://{host}:{port}/graphql", host=address, subprotocols=["graphql-transport-ws"])  # type: ignore[list-item]  # a NewType of str
        if opens:
            async with opening:
                pass
        else:
            with pytest.raises(InvalidStatus, match="403"):
                await opening
