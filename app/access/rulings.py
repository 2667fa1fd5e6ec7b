"""The rulings on routes: which role each takes, in which projects. Those on GraphQL's fields are the schema's own.

A route without one makes no application (`guard.ruled`); the README's table is made of this one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from app.access.credentials import first_header
from app.access.refusing import by_otlp, by_weave, plainly
from app.media_types import prefers_html
from stores.access import EVERY_PROJECT, Role
from stores.errors import StoreError


@dataclass(frozen=True, slots=True)
class Ruling:
    """The role that a route takes, `NONE` of anybody; where its projects are, and how it refuses.

    Where `projects` finds none, whoever has any role comes in, and the endpoint checks each project that it meets
    (`callers.access_of`). `is_open` tells what of it takes no role.
    """

    role: Role
    place: str
    projects: Callable[[HTTPConnection], Iterable[str]] | None = None
    refuse: Callable[[StoreError, HTTPConnection], Response] = plainly
    is_open: Callable[[Scope], bool] | None = None


def _in_path(connection: HTTPConnection) -> Iterable[str]:
    yield f"{connection.path_params['entity']}/{connection.path_params['project']}"


def _in_query(connection: HTTPConnection) -> Iterable[str]:
    yield from connection.query_params.getlist("projectId")


def _all(_connection: HTTPConnection) -> Iterable[str]:
    yield EVERY_PROJECT


def _is_page(scope: Scope) -> bool:
    """Whether a browser asks for GraphiQL, which holds no data."""
    accept = first_header(scope["headers"], b"accept") or b""
    return scope["type"] == "http" and scope["method"] == "GET" and prefers_html(accept.decode("latin-1"))


OPEN: Final = Ruling(Role.NONE, "open to all")
EVERYWHERE: Final = Ruling(Role.READER, "all projects", _all)
"""For what tells of the whole server."""

_GRAPHQL: Final = Ruling(Role.NONE, "as the field takes it", is_open=_is_page)
_TRACES: Final = Ruling(Role.WRITER, "those of the header and the spans' resources", refuse=by_otlp)
_WEAVE_READER: Final = Ruling(Role.READER, "each project_id and ref in the body", refuse=by_weave)
_WEAVE_WRITER: Final = Ruling(Role.WRITER, "each project_id in the body", refuse=by_weave)

_WEAVE_READS: Final = (
    "/call/read",
    "/calls/query",
    "/calls/stream_query",
    "/calls/query_stats",
    "/cost/query",
    "/feedback/query",
    "/file/content",
    "/files/content",
    "/files/stats",
    "/graphql",
    "/obj/read",
    "/objs/query",
    "/project/stats",
    "/refs/read_batch",
    "/table/query",
    "/table/query_stats",
    "/table/query_stats_batch",
    "/threads/stream_query",
)
_WEAVE_WRITES: Final = (
    "/actions/execute_batch",
    "/call/end",
    "/call/start",
    "/call/update",
    "/call/upsert_batch",
    "/calls/delete",
    "/completions/create",
    "/completions/create_stream",
    "/cost/create",
    "/cost/purge",
    "/feedback/batch/create",
    "/feedback/create",
    "/feedback/purge",
    "/feedback/replace",
    "/file/create",
    "/files/create",
    "/image/create",
    "/obj/create",
    "/obj/delete",
    "/table/create",
    "/table/create_from_digests",
    "/table/update",
    "/v2/{entity}/{project}/call/end",
    "/v2/{entity}/{project}/call/start",
    "/v2/{entity}/{project}/calls/complete",
)

RULINGS: Final = {
    "/": OPEN,
    "/graphql": _GRAPHQL,
    "/graphiql": OPEN,
    "/healthz": OPEN,
    "/readyz": OPEN,
    "/metrics": EVERYWHERE,
    "/files/{entity}/{project}": Ruling(Role.WRITER, "the one in the address", _in_path),
    "/files/{entity}/{project}/{digest}": Ruling(Role.READER, "the one in the address", _in_path),
    "/export/{concept}": Ruling(Role.READER, "projectId in the address", _in_query),
    "/v1/traces": _TRACES,
    "/otel/v1/traces": _TRACES,
    **{f"/weave{path}": _WEAVE_READER for path in _WEAVE_READS},
    **{f"/weave{path}": _WEAVE_WRITER for path in _WEAVE_WRITES},
    "/weave/server_info": OPEN,
    "/weave/{path:path}": OPEN,
}
"""By the path of a route."""

WITHOUT_PAGE: Final = RULINGS | {"/graphql": replace(_GRAPHQL, is_open=None)}
"""The same where GraphiQL is off: who would rather have its page is answered by the API, and says who they are."""
