"""Routes of the Weave SDK, under one prefix: its trace server's API, W&B's GraphQL lookups, links to W&B's pages."""

import asyncio
import inspect
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from app import runtime
from app.admission import Admission, quota_key_of
from app.auth.permissions import IN_PATH, OPEN, RoutePermission
from app.http.errors import WEAVE_PREFIX, error_boundary, weave_error
from app.weave import batches, calls, completions, files, objects, projects, wandb_graphql
from app.weave.messages import Body, answer, read_sdk_body
from graphql_schema.context import Stores
from stores.security.access import Role

_Endpoint = Callable[[Stores, Any], Awaitable[object]]
"""Takes the body, or the model of it that it names, and returns a response, or the value that the response has as JSON.
"""

_FILES: Final = ("/files/create", "/file/create")
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_READER: Final = RoutePermission(Role.READER, "each `project_id` and ref in the body")
_WRITER: Final = RoutePermission(Role.WRITER, "each `project_id` in the body")

_POSTS: Final[dict[str, tuple[_Endpoint, RoutePermission]]] = {
    "/call/upsert_batch": (batches.upsert_calls, _WRITER),
    "/call/start": (calls.start, _WRITER),
    "/call/end": (calls.end, _WRITER),
    "/call/read": (calls.read, _READER),
    "/call/update": (calls.update, _WRITER),
    "/calls/delete": (calls.delete, _WRITER),
    "/calls/query": (calls.query, _READER),
    "/calls/stream_query": (calls.stream_query, _READER),
    "/calls/query_stats": (calls.query_stats, _READER),
    "/v2/{entity}/{project}/calls/complete": (batches.complete_calls, IN_PATH),
    "/v2/{entity}/{project}/call/start": (calls.start, IN_PATH),
    "/v2/{entity}/{project}/call/end": (calls.end, IN_PATH),
    "/obj/create": (objects.create, _WRITER),
    "/obj/read": (objects.read, _READER),
    "/obj/delete": (objects.delete, _WRITER),
    "/objs/query": (objects.query, _READER),
    "/refs/read_batch": (objects.read_refs, _READER),
    "/table/create": (objects.create_table, _WRITER),
    "/table/create_from_digests": (objects.create_table_from_digests, _WRITER),
    "/table/update": (objects.update_table, _WRITER),
    "/table/query": (objects.query_table, _READER),
    "/table/query_stats": (objects.table_stats, _READER),
    "/table/query_stats_batch": (objects.tables_stats, _READER),
    "/files/content": (files.content, _READER),
    "/file/content": (files.content, _READER),
    "/files/stats": (projects.files_stats, _READER),
    "/feedback/create": (calls.create_feedback, _WRITER),
    "/feedback/batch/create": (batches.create_feedback, _WRITER),
    "/feedback/query": (calls.query_feedback, _READER),
    "/feedback/purge": (calls.purge_feedback, _WRITER),
    "/feedback/replace": (calls.replace_feedback, _WRITER),
    "/cost/create": (projects.create_costs, _WRITER),
    "/cost/query": (projects.costs, _READER),
    "/cost/purge": (projects.purge_costs, _WRITER),
    "/threads/stream_query": (projects.threads, _READER),
    "/project/stats": (projects.stats, _READER),
    "/completions/create": (completions.create, _WRITER),
    "/completions/create_stream": (completions.create_stream, _WRITER),
    "/actions/execute_batch": (completions.execute_actions, _WRITER),
}

WEAVE_PERMISSIONS: Final = {
    **{f"POST {WEAVE_PREFIX}{path}": permission for path, (_, permission) in _POSTS.items()},
    f"POST {WEAVE_PREFIX}/graphql": _READER,
    **{f"POST {WEAVE_PREFIX}{path}": _WRITER for path in ("/image/create", *_FILES)},
    f"GET {WEAVE_PREFIX}/server_info": OPEN,
    **{f"{method} {WEAVE_PREFIX}/{{path:path}}": OPEN for method in sorted(_METHODS) if method != "HEAD"},
}
"""Permission by route."""

_QUERIES: Final = Path(__file__).with_name("links.graphql").read_text().split("\n\n")
_CALL, _VERSION, _PROJECT = (f"{query.strip()}\n" for query in _QUERIES)

_LINK: Final = re.compile(
    r"/(?P<project>[^/]+/[^/]+)/(?:r/call/(?P<call>[^/]+)"
    r"|weave/(?P<kind>object|op)s/(?P<name>[^/]+)/versions/(?P<digest>[^/]+)|weave(?:/.*)?)",
    re.DOTALL,
)


def query_of_link(path: str) -> str | None:
    """Return GraphiQL's query string for the path of a link below the prefix, None if the SDK prints no such link.

    A link to a call or to a version of an object or op queries that entity. Any other page of a project lists its
    latest traces.
    """
    link = _LINK.fullmatch(path)
    if link is None:
        return None
    project_id = link["project"]
    query, variables = _PROJECT, {"projectId": project_id}
    if link["call"]:
        query, variables = _CALL, {"projectId": project_id, "id": link["call"]}
    elif link["kind"]:
        query = _VERSION
        variables = {"ref": f"weave:///{project_id}/{link['kind']}/{link['name']}:{link['digest']}"}
    return urlencode({"query": query, "variables": json.dumps(variables, indent=2)}, quote_via=quote)


@dataclass(eq=False)
class WeaveDoor:
    """The routes of the Weave SDK; bodies have at most `max_body_bytes`, files at most `max_file_bytes`.

    A request holds a slot of an operation until its response starts; completions have their own limit.
    `introspection` allows schema introspection in W&B lookups.
    """

    max_body_bytes: int
    max_file_bytes: int
    admission: Admission
    _: KW_ONLY
    introspection: bool = True

    def __post_init__(self) -> None:
        self._posts: dict[str, _Endpoint] = {
            **{path: endpoint for path, (endpoint, _) in _POSTS.items()},
            "/graphql": partial(wandb_graphql.look_up, introspection=self.introspection),
            "/image/create": partial(completions.create_images, max_bytes=self.max_file_bytes),
        }

    def mount(self) -> Mount:
        """Return the routes under the prefix, with a JSON 404 for unknown paths."""
        routes: list[BaseRoute] = []
        for path, endpoint in self._posts.items():
            _, argument, *_ = inspect.signature(endpoint).parameters.values()
            post = error_boundary(partial(self._post, endpoint, argument.annotation), weave_error)
            routes.append(Route(path, post, methods=["POST"]))
        create_file = error_boundary(self._create_file, weave_error)
        routes += [Route(path, create_file, methods=["POST"]) for path in _FILES]
        routes += [
            Route("/server_info", _server_info, methods=["GET"]),
            Route("/{path:path}", self._unknown, methods=_METHODS),
        ]
        return Mount(WEAVE_PREFIX, routes=routes)

    async def _post(self, endpoint: _Endpoint, model: type[Any], request: Request) -> Response:
        with self.admission.memory.reservation(quota_key_of(request.scope)) as reservation:
            body = await read_sdk_body(request, self.max_body_bytes, reservation)
            is_counted = endpoint not in (completions.create, completions.create_stream)
            slot = self.admission.operations.operation(quota_key_of(request.scope)) if is_counted else nullcontext()
            try:
                async with slot:
                    argument = body if model is Body else await body.read(model)
                    content = await endpoint(request.state["stores"], argument)
                    return content if isinstance(content, Response) else answer(content)
            finally:
                if len(body.text) > runtime.TRIM_AFTER_BYTES:
                    del body
                    await asyncio.to_thread(runtime.trim_heap)

    async def _create_file(self, request: Request) -> Response:
        with self.admission.memory.reservation(quota_key_of(request.scope)) as reservation:
            return await files.create(request.state["stores"], request, reservation, self.max_file_bytes)

    async def _unknown(self, request: Request) -> Response:
        """Redirect a link that the SDK prints to GraphiQL; answer anything else with 404.

        The SDK works without endpoints that return 404, and retries those that return 501.
        """
        path = f"/{request.path_params['path']}"
        if request.method in {"GET", "HEAD"} and (query := query_of_link(path)):
            # Relative, so that it works behind a path prefix.
            steps = "../" * (request.scope["raw_path"].count(b"/") - 1)
            return RedirectResponse(f"{steps}graphql?{query}")
        if path in self._posts:
            return answer({"reason": f"{path} takes POST only"}, 405, {"Allow": "POST"})
        return answer({"reason": f"LoomQL has no {path} for the Weave SDK"}, 404)


async def _server_info(_request: Request) -> Response:
    """Return versions that accept every version of the SDK, which in turn requires a minimum version of the server."""
    return answer({"min_required_weave_python_version": "0.0.1", "trace_server_version": "1.0.0"})
