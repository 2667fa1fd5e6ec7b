"""Every route with every role: let in, or refused, as the table says."""

import json
from typing import Any, Final

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from app.access import ruled
from app.access.rulings import EVERYWHERE, RULINGS
from app.access.table import markdown_table
from app.server import create_app
from app.settings import Settings
from stores.access import EVERY_PROJECT, Grant, Role
from tests.app.access.conftest import NOBODY, OF_CALLERS, OURS, THEIRS, Keyed
from tests.app.command import ROOT
from tests.stores.otel.messages import body, span

REF: Final = f"weave:///{OURS}/object/thing:{'x' * 43}"
BODY: Final[dict[str, Any]] = {
    "project_id": OURS,
    **{name: {"project_id": OURS, "rows": []} for name in ("start", "end", "obj", "table")},
    "refs": [REF],
    "batch": [{"project_id": OURS, "mode": "start", "req": {"start": {"project_id": OURS}}}],
    "query": '{ project(name: "chat", entityName: "acme") { id } }',
}
ROLES: Final = {"reader": Role.READER, "writer": Role.WRITER, "admin": Role.ADMIN}


def routes_of(app: Any, prefix: str = "") -> dict[str, str]:  # noqa: ANN401 -- an application or a mount
    """The method of each route by path."""
    found: dict[str, str] = {}
    for route in app.routes:
        if isinstance(route, Mount) and route.routes:
            found |= routes_of(route, f"{prefix}{route.path}")
        elif isinstance(route, Route):
            methods = route.methods or {"GET"}
            found.setdefault(f"{prefix}{route.path}", min(methods - {"HEAD"}))
        elif isinstance(route, Mount):
            found[f"{prefix}{route.path}"] = "GET"
    return found


@pytest.fixture(scope="session")
def routes(mongodb_uri: str) -> dict[str, str]:
    return routes_of(create_app(Settings(mongodb_uri=mongodb_uri)))


async def ask(client: httpx.AsyncClient, path: str, method: str) -> httpx.Response:
    """The answer to a request that is about our project by all that it says."""
    entity, _, project = OURS.partition("/")
    url = path.replace(":path", "").format(
        entity=entity, project=project, digest="x" * 43, concept="calls", path="nothing"
    )
    if path.endswith("/traces"):
        content = body(span(1), resource={"wandb.entity": entity, "wandb.project": project})
        return await client.post(url, content=content, headers={"content-type": "application/x-protobuf"})
    if path in {"/weave/files/create", "/weave/file/create"}:
        return await client.post(url, data={"project_id": OURS}, files={"file": b"hello"})
    if method == "POST":
        return await client.post(url, json=BODY)
    if path == "/graphql":
        return await client.get(url, params={"query": '{ callsStats(projectId: "acme/chat") { count } }'})
    if path == "/graphiql":
        return await client.get("/graphiql/nothing.js")
    return await client.request(method, url, params={"projectId": OURS} if path.startswith("/export") else None)


def outcome(answer: httpx.Response) -> str:
    """Whether an answer lets in."""
    if answer.status_code in {401, 403}:
        return {401: "unauthenticated", 403: "forbidden"}[answer.status_code]
    return "forbidden" if b"takes the role" in answer.content else "in"


@pytest.mark.parametrize("caller", [NOBODY, *OF_CALLERS])
async def test_every_route_takes_the_role_that_the_table_says(
    keyed: Keyed, routes: dict[str, str], caller: str
) -> None:
    grant = OF_CALLERS.get(caller, Grant(OURS, Role.NONE))
    expected = {}
    for path in routes:
        needed = Role.READER if path == "/graphql" else RULINGS[path].role
        projects = EVERY_PROJECT if RULINGS[path] is EVERYWHERE else OURS
        role = grant.role if grant.holds_for(projects) else Role.NONE
        refused = "unauthenticated" if caller == NOBODY else "forbidden"
        expected[path] = "in" if role >= needed else refused

    async with keyed.client(caller) as client:
        found = {path: outcome(await ask(client, path, method)) for path, method in routes.items()}

    assert found == expected


def test_there_is_a_ruling_for_every_route_and_none_too_many(routes: dict[str, str]) -> None:
    assert routes.keys() == RULINGS.keys()


@pytest.mark.parametrize(
    "route",
    [
        Route("/secrets", lambda _request: PlainTextResponse("secret")),
        WebSocketRoute("/secrets", lambda _websocket: None),
        Mount("/secrets", routes=[Route("/one", lambda _request: PlainTextResponse("secret"))]),
    ],
)
def test_a_route_that_nobody_ruled_on_makes_no_application(route: BaseRoute) -> None:
    with pytest.raises(TypeError, match="nobody ruled on /secrets"):
        ruled([route])


async def test_a_forbidden_project_is_refused_alike_whether_it_is_there_or_not(keyed: Keyed) -> None:
    told = set()
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
            told.add(
                json.dumps(
                    [
                        (answer.status_code, answer.content.replace(project_id.encode(), b"*").hex()[-60:])
                        for answer in answers
                    ]
                )
            )
            assert {answer.status_code for answer in answers} == {403}

    assert len(told) == 1


def test_the_readme_has_the_table() -> None:
    assert markdown_table() in (ROOT / "README.md").read_text()
