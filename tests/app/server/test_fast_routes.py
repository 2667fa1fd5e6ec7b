"""Tests that requests to a route's exact path skip the router and all others use it."""

from typing import Any

import pytest
from starlette.routing import Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send

from app.auth.permissions import Guard
from app.server.application import DirectRoutes, create_app
from app.settings import Settings

taken: list[str] = []


class There:
    """The endpoint of a route."""

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Record whether the request came through the router."""
        taken.append("through the router" if "endpoint" in scope else "short")


async def nothing(*_told: object) -> None:
    """Receive or send nothing."""


@pytest.mark.parametrize(
    ("scope", "way"),
    [
        ({"type": "http", "path": "/graphql", "method": "POST"}, "short"),
        ({"type": "http", "path": "/graphql", "method": "DELETE"}, "short"),
        ({"type": "http", "path": "/prefix/graphql", "root_path": "/prefix", "method": "POST"}, "through the router"),
    ],
)
async def test_request_takes_the_fast_or_the_general_route(scope: Scope, way: str) -> None:
    taken.clear()
    route = Route("/graphql", There())

    await DirectRoutes(Router([route]), [route])({"root_path": "", **scope}, nothing, nothing)  # type: ignore[arg-type]

    assert taken == [way]


@pytest.mark.parametrize(("path", "taken_by"), [("/ws", ["short"]), ("/graphql", [])])
async def test_websocket_has_its_own_fast_route(path: str, taken_by: list[str]) -> None:
    taken.clear()
    sent: list[str] = []

    async def send(message: object) -> None:
        sent.append(dict(message)["type"])  # type: ignore[call-overload]

    routes = [Route("/graphql", There()), WebSocketRoute("/ws", There())]
    scope = {"type": "websocket", "path": path, "root_path": ""}
    await DirectRoutes(Router(routes), routes)(scope, nothing, send)  # type: ignore[arg-type]

    assert taken == taken_by
    assert sent == ([] if taken_by else ["websocket.close"])


def test_route_with_parameters_or_methods_cannot_be_fast() -> None:
    with pytest.raises(TypeError, match="methods or path parameters"):
        DirectRoutes(Router([]), [Route("/files/{digest}", There())])
    with pytest.raises(TypeError, match="methods or path parameters"):
        DirectRoutes(Router([]), [Route("/", There(), methods=["GET"])])


def test_fast_route_checks_permissions() -> None:
    app = create_app(Settings(mongodb_uri="mongodb://127.0.0.1:1"))
    layers: list[Any] = app.user_middleware
    [way] = [each for each in layers if each.cls is DirectRoutes]
    routes = way.args[0]

    assert [type(route) for route in routes] == [Route, WebSocketRoute]
    assert all(isinstance(route.app, Guard) for route in routes)
