"""Tests of rate limits per caller: the arithmetic, and the response at each endpoint."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from google.rpc.status_pb2 import Status
from websockets.exceptions import InvalidStatus

from app.admission import RateLimiter, TokenBuckets, network_of, quota_key_of
from stores.errors import RateLimitedError
from stores.security.access import Caller
from tests.app import command
from tests.app.endpoints import ENDPOINTS, TYPENAME, Endpoint, Server, answered, every_endpoint, serving
from tests.waiting import TIMEOUT


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_bucket_allows_its_burst_and_then_its_rate() -> None:
    clock = Clock()
    buckets = TokenBuckets(2, 3, clock=clock)

    assert [buckets.try_acquire("a") for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]
    clock.now += 0.5
    assert buckets.try_acquire("a") == 0
    assert buckets.try_acquire("a") == pytest.approx(0.5)
    clock.now += 100
    assert [buckets.try_acquire("a") == 0 for _ in range(5)] == [True, True, True, False, False]


def test_refused_request_costs_no_token() -> None:
    clock = Clock()
    buckets = TokenBuckets(1, 1, clock=clock)
    buckets.try_acquire("a")

    for _ in range(50):
        buckets.try_acquire("a")
    clock.now += 1

    assert buckets.try_acquire("a") == 0


def test_each_caller_has_a_bucket_and_idle_ones_are_dropped() -> None:
    buckets = TokenBuckets(1, 1, limit=10, clock=Clock())

    assert [buckets.try_acquire(str(number)) for number in range(1000)] == [0] * 1000
    assert len(buckets) == 10
    assert buckets.try_acquire("999") > 0


def test_refusal_has_retry_after() -> None:
    rates = RateLimiter(0.1, 1, clock=Clock())
    rates.check("a")

    with pytest.raises(RateLimitedError, match=r"more than 0.1 requests a second.*retry in 10 s") as refused:
        rates.check("a")
    assert refused.value.retry_after_seconds == 10


def test_rate_limit_applies_per_key_or_else_per_address() -> None:
    scope = {"client": ("10.0.0.5", 4000), "state": {"caller": Caller("key-1", ())}}

    assert quota_key_of(scope) == "key key-1"
    assert quota_key_of({"client": ("10.0.0.5", 4000), "state": {}}) == "address 10.0.0.5"
    assert quota_key_of({"client": None}) == "unknown"


def test_ipv6_addresses_of_one_network_are_one_caller() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("fe80:nonsense") == "fe80:nonsense"


@pytest.fixture
def slow(mongodb_uri: str, database_name: str) -> Iterator[Server]:
    # This rate adds one token in a quarter of an hour, so the bucket gets none while a test runs.
    yield from serving(mongodb_uri, database_name, rate_limit=0.001, rate_burst=3)


@every_endpoint
def test_rate_limited_request_gets_retry_after_at_every_endpoint(slow: Server, endpoint: Endpoint) -> None:
    taken = [endpoint.send(slow.client).status_code for _ in range(3)]

    answer = endpoint.send(slow.client)

    assert taken == [endpoint.status, 200, 200]
    assert answer.status_code == 429
    assert 900 <= int(answer.headers["retry-after"]) <= 1000
    assert "LOOMQL_RATE_LIMIT" in answer.text
    assert endpoint.code_of(answer) == (None if endpoint.name in {"otlp", "logs", "weave"} else "RATE_LIMITED")


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_otlp_rate_limit_uses_the_otlp_error_format(slow: Server, path: str) -> None:
    for _ in range(3):
        slow.client.get("/graphql")

    answer = slow.client.post(path, content=b"", headers={"content-type": "application/x-protobuf"})

    assert (answer.status_code, Status.FromString(answer.content).code) == (429, 8)


def test_health_metrics_and_static_files_are_not_counted(slow: Server) -> None:
    paths = ("/healthz", "/readyz", "/metrics", "/explorer/none.js", "/graphiql/none.js", "/docs/style.css")

    statuses = [{slow.client.get(path).status_code for _ in range(4)} for path in paths]

    assert statuses == [{200}, {200}, {200}, {404}, {404}, {200}]
    assert ENDPOINTS[0].send(slow.client).status_code == 200


async def test_each_websocket_operation_counts(slow: Server) -> None:
    async with slow.socket() as socket:
        found = [await answered(socket, str(number), query=TYPENAME) for number in range(4)]

    assert [message["type"] for message in found] == ["next", "next", "next", "error"]
    [error] = found[3]["payload"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert error["extensions"]["retryAfterSeconds"] > 900
    assert ENDPOINTS[1].send(slow.client).status_code == 429


async def test_unauthenticated_websockets_have_their_own_limit_per_address(slow: Server) -> None:
    statuses = [ENDPOINTS[1].send(slow.client).status_code for _ in range(4)]

    for _ in range(3):
        async with slow.socket():
            pass
    with pytest.raises(InvalidStatus) as refused:
        async with slow.socket():
            pass

    assert statuses == [200, 200, 200, 429]
    assert refused.value.response.status_code == 429


@pytest.mark.parametrize(("trusted", "statuses"), [(None, [200, 200, 429, 429]), ("127.0.0.1", [200] * 4)])
def test_forwarded_address_is_trusted_only_if_configured(
    mongodb_uri: str, database_name: str, tmp_path: Path, trusted: str | None, statuses: list[int]
) -> None:
    environment = {
        "LOOMQL_MONGODB_URI": mongodb_uri,
        "LOOMQL_MONGODB_DATABASE": database_name,
        "LOOMQL_RATE_LIMIT": "0.001",
        "LOOMQL_RATE_BURST": "2",
    }
    if trusted is not None:
        environment["FORWARDED_ALLOW_IPS"] = trusted
    with command.serving(tmp_path / "out", **environment) as server:
        given = [
            httpx.post(
                server.url,
                json={"query": TYPENAME},
                headers={"X-Forwarded-For": f"203.0.113.{number}"},
                timeout=TIMEOUT,
            )
            for number in range(4)
        ]

    assert [answer.status_code for answer in given] == statuses
