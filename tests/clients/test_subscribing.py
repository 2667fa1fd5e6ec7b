"""Tests of the npm packages graphql-ws and graphql-sse, in Node, against the whole service."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from stores.calls import CallsStore
from tests.clients.node_client import NodeClient, node_client
from tests.clients.operations import COUNT, CURSOR, START, WATCH
from tests.node import Node
from tests.stores.calls.builders import PROJECT, call_id, end, start

WS, SSE = "graphql-ws", "graphql-sse"
NEW_CALL = {"projectId": PROJECT, "opName": "f", "startedAt": "2026-01-31T12:00:00Z", "attributes": {}, "inputs": {}}


def address(kind: str, url: str) -> str:
    return url.replace("http", "ws", 1) if kind == WS else url


@pytest.fixture(params=[WS, SSE])
async def client(request: pytest.FixtureRequest, node: Node, url: str) -> AsyncIterator[NodeClient]:
    # The socket stays open for the whole test, with or without a running operation.
    options = {"lazyCloseTimeout": 60_000} if request.param == WS else {"retryAttempts": 0}
    async with node_client(node, request.param, address(request.param, url), **options) as client:
        yield client


async def ask(client: NodeClient, name: str, query: str, **variables: object) -> Any:
    await client.begin(name, query, **variables)
    result, ending = await client.whole(name)
    assert ending == {"complete": True}
    return result["next"]


async def watch(client: NodeClient, name: str, **variables: object) -> None:
    cursor = (await ask(client, f"cursor of {name}", CURSOR))["data"]["callEventsCursor"]
    await client.begin(name, WATCH, projectId=PROJECT, after=cursor, **variables)


async def events(client: NodeClient, name: str, count: int) -> list[tuple[str, str]]:
    found = [result["data"]["callEvents"] for result in await client.results(name, count)]
    return [(event["type"], event["call"]["id"]) for event in found]


async def test_queries_and_mutations_are_answered(client: NodeClient) -> None:
    before = await ask(client, "before", COUNT)
    made = await ask(client, "start", START, start=NEW_CALL | {"id": call_id(1)})
    after = await ask(client, "after", COUNT)

    assert before["data"] == {"callsStats": {"count": 0}}
    assert made["data"] == {"callStart": {"id": call_id(1)}}
    assert after["data"] == {"callsStats": {"count": 1}}
    assert all(answer.keys() == {"data", "extensions"} for answer in (before, made, after))


async def test_subscription_receives_call_events(client: NodeClient, calls: CallsStore) -> None:
    await watch(client, "watch")
    await calls.write([start(1)])
    await calls.write([end(1)])
    await calls.rename(PROJECT, call_id(1), "renamed")
    await calls.delete(PROJECT, [call_id(1)])

    assert await events(client, "watch", 4) == [
        ("STARTED", call_id(1)),
        ("ENDED", call_id(1)),
        ("UPDATED", call_id(1)),
        ("DELETED", call_id(1)),
    ]


async def test_concurrent_operations_run_until_each_is_stopped(client: NodeClient, calls: CallsStore) -> None:
    await watch(client, "all")
    await watch(client, "some", filter={"opNames": ["g"]})
    await watch(client, "others", query={"json": {"$expr": {"$eq": [{"$getField": "op_name"}, {"$literal": "f"}]}}})
    await calls.write([start(1, op_name="f"), start(2, op_name="g")])
    seen = {name: await events(client, name, count) for name, count in [("all", 2), ("some", 1), ("others", 1)]}
    await client.end("all")
    await client.whole("all")
    await calls.write([start(3, op_name="f"), start(4, op_name="g")])
    later = {name: await events(client, name, 2) for name in ("some", "others")}

    first, second, third, fourth = (("STARTED", call_id(number)) for number in range(1, 5))
    assert seen == {"all": [first, second], "some": [second], "others": [first]}
    assert later == {"some": [second, fourth], "others": [first, third]}
    assert client.messages("all")[2:] == [{"complete": True}]
    assert set(client.sockets()) <= {"connected"}
    assert len(client.sockets()) <= 1


async def test_invalid_operation_is_reported_and_the_others_continue(client: NodeClient, calls: CallsStore) -> None:
    await watch(client, "watch")
    unknown = await failure(client, "unknown", "subscription { callEventz }")
    refused = await failure(client, "refused", WATCH, projectId="acme")
    stale = await failure(client, "stale", WATCH, projectId=PROJECT, after="nonsense")
    [resolved] = (await ask(client, "wrong", f'{{ obj(projectId: "{PROJECT}", objectId: "/") {{ ref }} }}'))["errors"]
    await calls.write([start(1)])

    assert unknown["message"].startswith("Cannot query field 'callEventz' on type 'Subscription'.")
    assert unknown["locations"] == [{"line": 1, "column": 16}]
    assert refused["extensions"] == {"code": "BAD_USER_INPUT", "argument": "projectId"}
    assert stale["extensions"] == {"code": "BAD_USER_INPUT", "argument": "after"}
    assert (resolved["path"], resolved["extensions"]["code"]) == (["obj"], "BAD_USER_INPUT")
    assert await events(client, "watch", 1) == [("STARTED", call_id(1))]


async def failure(client: NodeClient, name: str, document: str, /, **variables: object) -> Any:
    """Return the one error of a failed operation.

    The package graphql-ws rejects with a list of errors; graphql-sse returns a last result that contains them.
    """
    await client.begin(name, document, **variables)
    match await client.whole(name):
        case [{"error": {"errors": [error]}}] | [{"next": {"errors": [error]}}, {"complete": True}]:
            return error
        case other:
            raise AssertionError(other)


async def test_too_large_request_closes_the_socket_or_gets_a_status(
    client: NodeClient, request: pytest.FixtureRequest
) -> None:
    await client.begin("large", COUNT, padding="x" * 100_000)

    [message] = await client.whole("large")

    if request.node.callspec.params["client"] == WS:
        assert message == {
            "error": {"close": 1009, "reason": "A message is larger than 100,000 bytes (LOOMQL_MAX_BODY_BYTES)."}
        }
    else:
        assert (message["error"]["name"], message["error"]["status"]) == ("NetworkError", 413)
