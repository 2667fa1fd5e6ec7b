"""Tests of the table of permissions: every HTTP method, WebSocket and gRPC method with every role."""

import asyncio
import json
import re
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import grpc.aio
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.auth.permissions import (
    EVERYWHERE,
    OPEN,
    RoutePermission,
    guard_routes,
    permission_for,
)
from app.auth.sessions import Session
from app.http.connections import CALLER, SESSION
from app.otlp.grpc_server import GrpcAddress, OtlpGrpc
from app.server.application import PERMISSIONS, create_app
from app.settings import Settings
from stores.calls import CallsStore
from stores.concurrency.quotas import RequestBudget
from stores.database import Database
from stores.errors import UnauthenticatedError
from stores.otel import OtelStore
from stores.security.access import EVERY_PROJECT, Caller, Grant, Role
from tests.app.auth.conftest import NOBODY, OF_CALLERS, OURS, THEIRS, Keyed
from tests.free_ports import free_port
from tests.stores.otel.messages import body, log, logs_body, span
from tests.waiting import TIMEOUT

REF: Final = f"weave:///{OURS}/object/thing:{'x' * 43}"
BODY: Final[dict[str, Any]] = {
    "project_id": OURS,
    **{name: {"project_id": OURS, "rows": []} for name in ("start", "end", "obj", "table")},
    "refs": [REF],
    "batch": [{"project_id": OURS, "mode": "start", "req": {"start": {"project_id": OURS}}}],
    "query": '{ project(name: "chat", entityName: "acme") { id } }',
}
QUERY: Final = '{ callsStats(projectId: "acme/chat") { count } }'
OVER_GRPC: Final = [endpoint for endpoint in PERMISSIONS if endpoint.startswith("GRPC ")]
METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")

OUTCOMES: Final = {
    grpc.StatusCode.OK: "in",
    grpc.StatusCode.PERMISSION_DENIED: "forbidden",
    grpc.StatusCode.UNAUTHENTICATED: "unauthenticated",
}


def endpoints_of(app: Any, prefix: str = "") -> set[str]:
    """Return each method of each route, and each WebSocket."""
    found: set[str] = set()
    for route in app.routes:
        path = f"{prefix}{route.path}"
        if isinstance(route, Mount) and route.routes:
            found |= endpoints_of(route, path)
        elif isinstance(route, WebSocketRoute):
            found.add(f"WEBSOCKET {path}")
        else:
            methods = getattr(route, "methods", None) or {"ANY"}
            found |= {f"{method} {path}" for method in methods}
    return found


def permission_of(endpoint: str) -> RoutePermission:
    """Return the permission of an endpoint; HEAD has the permission of GET."""
    return PERMISSIONS[endpoint.replace("HEAD ", "GET ")]


@pytest.fixture(scope="session")
def endpoints(mongodb_uri: str) -> set[str]:
    return endpoints_of(create_app(Settings(mongodb_uri=mongodb_uri)))


@pytest.fixture(scope="session")
def requests(endpoints: set[str]) -> list[tuple[str, str, str]]:
    """Return the endpoint, method and path of each HTTP request to test."""
    parts = [
        (endpoint, *endpoint.split(" ")) for endpoint in sorted(endpoints) if not endpoint.startswith("WEBSOCKET ")
    ]
    return [
        (endpoint, each, path)
        for endpoint, method, path in parts
        for each in (METHODS if method == "ANY" else [method])
    ]


async def ask(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """Send a request that names our project everywhere and return the response."""
    entity, _, project = OURS.partition("/")
    url = path.replace(":path", "").format(
        entity=entity, project=project, digest="x" * 43, concept="calls", path="nothing"
    )
    if path.endswith(("/traces", "/logs")):
        resource = {"wandb.entity": entity, "wandb.project": project}
        event = log("codex.user_prompt", {"conversation.id": "walked"})
        content = body(span(1), resource=resource) if "traces" in path else logs_body(event, resource=resource)
        return await client.request(method, url, content=content, headers={"content-type": "application/x-protobuf"})
    if path in {"/weave/files/create", "/weave/file/create"}:
        return await client.request(method, url, data={"project_id": OURS}, files={"file": b"walked"})
    if path in {"/explorer", "/graphiql"}:
        return await client.request(method, f"{path}/nothing.js")
    if method == "POST":
        return await client.post(url, json=BODY | ({"query": QUERY} if path == "/graphql" else {}))
    if path == "/graphql":
        return await client.request(method, url, params={"query": QUERY})
    return await client.request(method, url, params={"projectId": OURS} if path.startswith("/export") else None)


def outcome(answer: httpx.Response) -> str:
    """Classify a response as accepted ("in"), unauthenticated or forbidden."""
    if answer.status_code in {401, 403}:
        return {401: "unauthenticated", 403: "forbidden"}[answer.status_code]
    return "forbidden" if b"need the role" in answer.content else "in"


def expected(endpoint: str, caller: str, *, takes_query: bool) -> str:
    """Return the outcome that the table defines for a caller at an endpoint.

    With `takes_query`, the fields of the query need a reader.
    """
    permission = permission_of(endpoint)
    if permission is OPEN:
        return "in"
    if caller == NOBODY:
        return "unauthenticated"
    grant = OF_CALLERS[caller]
    role = grant.role if grant.covers(EVERY_PROJECT if permission is EVERYWHERE else OURS) else Role.NONE
    return "in" if role >= (Role.READER if takes_query else permission.role) else "forbidden"


@pytest.mark.parametrize("caller", [NOBODY, *OF_CALLERS])
async def test_every_route_method_needs_the_role_in_the_table(
    keyed: Keyed, requests: list[tuple[str, str, str]], caller: str
) -> None:
    said = {
        (method, path): expected(endpoint, caller, takes_query=path == "/graphql" and method in {"GET", "POST"})
        for endpoint, method, path in requests
    }

    async with keyed.client(caller) as client:
        found = {(method, path): outcome(await ask(client, method, path)) for _, method, path in requests}

    assert found == said
    assert {("DELETE", "/graphql"), ("HEAD", "/export/{concept}"), ("PUT", "/files/{entity}/{project}")} <= said.keys()


@pytest.mark.parametrize("caller", [NOBODY, *OF_CALLERS])
async def test_every_websocket_needs_the_role_in_the_table(keyed: Keyed, endpoints: set[str], caller: str) -> None:
    sockets = [endpoint for endpoint in endpoints if endpoint.startswith("WEBSOCKET ")]

    found = {
        endpoint: await outcome_of_websocket(keyed, endpoint.removeprefix("WEBSOCKET "), caller) for endpoint in sockets
    }

    assert found == {endpoint: expected(endpoint, caller, takes_query=True) for endpoint in sockets}


async def outcome_of_websocket(keyed: Keyed, path: str, caller: str) -> str:
    """Return the outcome of an operation on a WebSocket that authenticates by header."""
    operation = {"id": "1", "type": "subscribe", "payload": {"query": QUERY}}
    address, transport = keyed.url.replace("http", "ws") + path, Subprotocol("graphql-transport-ws")
    async with (
        asyncio.timeout(TIMEOUT),
        connect(address, subprotocols=[transport], additional_headers=keyed.header(caller)) as opened,
    ):
        await opened.send(json.dumps({"type": "connection_init"}))
        with suppress(ConnectionClosed):
            await opened.recv()
            await opened.send(json.dumps(operation))
            return "forbidden" if "you need the role" in str(await opened.recv()) else "in"
        assert opened.close_code == 4401
        return "unauthenticated"


@pytest.mark.parametrize("caller", [NOBODY, *OF_CALLERS])
async def test_every_grpc_method_needs_the_role_in_the_table(keyed: Keyed, caller: str) -> None:
    metadata = (("project_id", OURS), *keyed.header(caller).items())
    found = {}
    async with grpc.aio.insecure_channel(keyed.grpc_address) as channel:
        for endpoint in OVER_GRPC:
            method: Any = channel.unary_unary(endpoint.removeprefix("GRPC "))
            found[endpoint] = OUTCOMES[await method(body(span(1)), metadata=metadata).code()]

    assert found == {endpoint: expected(endpoint, caller, takes_query=False) for endpoint in OVER_GRPC}


async def test_permissions_and_grpc_methods_match_one_to_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: set[str] = set()
    made = grpc.aio.server

    def watched(**options: Any) -> Any:
        server: Any = made(**options)
        add = server.add_generic_rpc_handlers
        server.add_registered_method_handlers = pytest.fail  # another way to register, which is not recorded

        def add_watched(handlers: tuple[Any, ...]) -> None:
            served.update(f"GRPC {name}" for handler in handlers for name in handler._method_handlers)
            add(handlers)

        server.add_generic_rpc_handlers = add_watched
        return server

    monkeypatch.setattr(grpc.aio, "server", watched)
    async with over_grpc(database):
        pass

    assert served == set(OVER_GRPC)


async def test_grpc_method_without_permission_is_not_served(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A deletion from the mapping itself would change its order, and so the pages generated in the same process.
    others = {name: permission for name, permission in PERMISSIONS.items() if name != OVER_GRPC[0]}
    monkeypatch.setattr("app.otlp.grpc_server.permission_for", partial(permission_for, permissions=others))

    with pytest.raises(TypeError, match=f"{OVER_GRPC[0]} has no permission"):
        async with over_grpc(database):
            pytest.fail("it is served")


def over_grpc(database: Database) -> AbstractAsyncContextManager[None]:
    """Return a gRPC server that rejects every caller."""

    async def admit(_authorization: str | None) -> Caller:
        raise UnauthenticatedError("nobody comes in")

    store = OtelStore(CallsStore(database))
    return OtlpGrpc(GrpcAddress("127.0.0.1", free_port()), store, 1_000, "otel", RequestBudget(), admit)


def test_permissions_and_routes_match_one_to_one(endpoints: set[str]) -> None:
    permitted = {endpoint for endpoint in PERMISSIONS if endpoint not in OVER_GRPC}

    assert {endpoint for endpoint in endpoints if not endpoint.startswith("HEAD ")} == permitted


def _answer(_request: Request) -> Response:
    return PlainTextResponse("secret")


async def _watch(*_given: object) -> None:
    raise AssertionError("nobody comes here")


@pytest.mark.parametrize(
    ("route", "endpoint"),
    [
        (Route("/secrets", _answer), "GET /secrets"),
        (Route("/secrets", PlainTextResponse("secret")), "ANY /secrets"),
        (Mount("/secrets", routes=[Route("/one", _answer)]), "GET /secrets/one"),
        (Mount("/secrets", PlainTextResponse("secret")), "ANY /secrets"),
        (WebSocketRoute("/secrets", _watch), "WEBSOCKET /secrets"),
        (WebSocketRoute("/export/{concept}", _watch), "WEBSOCKET /export/{concept}"),
        (Route("/files/{entity}/{project}/{digest}", _answer, methods=["DELETE", "GET"]), "DELETE /files/"),
        (Mount("/weave", routes=[Route("/call/read", _answer)]), "GET /weave/call/read"),
        (Route("/graphql", _answer, methods=["POST"]), "POST /graphql"),
    ],
)
def test_route_without_permission_fails_startup(route: BaseRoute, endpoint: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(endpoint)}.* has no permission"):
        guard_routes([route], PERMISSIONS)


async def test_each_method_of_a_route_has_its_own_permission() -> None:
    path, reader = "/things/{entity}/{project}", PERMISSIONS["GET /files/{entity}/{project}/{digest}"]
    rulings = {
        f"GET {path}": reader,
        f"DELETE {path}": replace(reader, role=Role.ADMIN),
        f"OPTIONS {path}": OPEN,
    }
    routes = guard_routes([Route(path, _answer, methods=["GET", "DELETE", "OPTIONS"])], rulings)

    async def statuses(session: object) -> list[int]:
        state = {SESSION: session, CALLER: getattr(session, "caller", None)}
        async with httpx.AsyncClient(transport=_Within(routes, state), base_url="http://x") as client:
            return [
                (await client.request(method, f"/things/{OURS}")).status_code
                for method in ("GET", "HEAD", "DELETE", "OPTIONS")
            ]

    assert await statuses(UnauthenticatedError("who are you?")) == [401, 401, 401, 200]
    assert await statuses(Session(Caller("reader", (Grant(OURS, Role.READER),)))) == [200, 200, 403, 200]
    assert await statuses(Session(Caller("admin", (Grant(OURS, Role.ADMIN),)))) == [200, 200, 200, 200]


class _Within(httpx.ASGITransport):
    """A transport that calls routes with a given application state."""

    def __init__(self, routes: list[BaseRoute], state: dict[str, object]) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await Router(routes)({**scope, "state": state}, receive, send)

        super().__init__(app)


def test_mounted_application_rejects_websockets() -> None:
    routes = guard_routes([Mount("/graphiql", _watch)])

    with pytest.raises(WebSocketDisconnect), TestClient(Router(routes)).websocket_connect("/graphiql/x"):
        pytest.fail("it is opened")


async def test_forbidden_project_gets_the_same_error_if_it_does_not_exist(keyed: Keyed) -> None:
    errors = set()
    async with keyed.client("admin") as client:
        for project_id in (THEIRS, "nobody/there"):
            answers = [
                await client.get(f"/files/{project_id}/{'x' * 43}"),
                await client.get(f"/export/calls?projectId={project_id}"),
                await client.post("/weave/call/read", json={"project_id": project_id, "id": "x"}),
                await client.post("/weave/refs/read_batch", json={"refs": [REF.replace(OURS, project_id)]}),
                await client.post(
                    "/v1/traces",
                    content=body(span(1)),
                    headers={"content-type": "application/x-protobuf", "project_id": project_id},
                ),
            ]
            errors.add(
                json.dumps(
                    [
                        (answer.status_code, answer.content.replace(project_id.encode(), b"*").hex()[-60:])
                        for answer in answers
                    ]
                )
            )
            assert {answer.status_code for answer in answers} == {403}

    assert len(errors) == 1
