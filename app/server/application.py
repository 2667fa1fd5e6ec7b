"""The ASGI application: its routes and middleware."""

from functools import partial
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from app import graphiql
from app.auth.middleware import CallerMiddleware
from app.auth.permissions import API_WITHOUT_PAGE, ROUTE_PERMISSIONS, guard_routes
from app.browser_security import Origins, SecurityHeadersMiddleware
from app.docs import Documentation
from app.exports.endpoint import ExportEndpoint
from app.files import FileEndpoints
from app.graphql_http.endpoint import GraphQLHTTP, request_context
from app.graphql_http.trusted_documents import TrustedDocuments
from app.http.connections import allowed_hosts
from app.observability.metrics import metrics
from app.observability.requests import RequestTrackingMiddleware
from app.observability.tracing import TracedRequests, trace_operations
from app.otlp.endpoint import TracesEndpoint
from app.server.health import healthz, readyz
from app.server.lifespan import ServerProcess
from app.settings import Settings
from app.weave.routes import WEAVE_PERMISSIONS, WeaveDoor
from app.websocket.endpoint import GraphQLWebSocket
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.errors import masked_error
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema

PERMISSIONS: Final = ROUTE_PERMISSIONS | WEAVE_PERMISSIONS
"""Permission by route, of all routes."""


def create_app(settings: Settings | None = None) -> Starlette:
    """Create the ASGI application over the configured database.

    It starts without the database: requests that need it fail until it answers, and `/readyz` gives the reason.

    Raises:
        ValueError: no database is configured.
    """
    settings = settings or Settings()
    uri = settings.mongodb_uri
    if uri is None:
        raise ValueError("No database is configured: set LOOMQL_MONGODB_URI, or run `loomql serve`, which starts one.")

    process = ServerProcess(settings, uri)
    names = allowed_hosts(settings.host, settings.allowed_hosts)
    outermost_first = [
        Middleware(RequestTrackingMiddleware, process.counters, process.shutdown),
        *([Middleware(TracedRequests, process.tracing)] if process.tracing else []),
        Middleware(SecurityHeadersMiddleware, Origins.parse(settings.cors_origins)),
        Middleware(CallerMiddleware, process.authenticator, names, process.admission.rates),
    ]
    return Starlette(
        routes=_routes(process),
        middleware=outermost_first,
        lifespan=process.lifespan,
        exception_handlers={404: not_found, 500: failed},
    )


def _routes(process: ServerProcess) -> list[BaseRoute]:
    settings, admission = process.settings, process.admission
    schema = build_schema(_limits(settings), compiled=settings.compiled_execution)
    if process.tracing:
        trace_operations(schema, process.tracing)
    over_http, over_websocket = _graphql(process, schema)
    routes: list[BaseRoute] = [
        Route("/graphql", over_http),
        Route("/", home),
        WebSocketRoute("/graphql", over_websocket),
        *FileEndpoints(settings.max_file_bytes, admission.memory).routes(),
        *ExportEndpoint(schema, settings, process.exports).routes(),
        *TracesEndpoint(settings.max_body_bytes, settings.otlp_entity, admission.memory).routes(),
        WeaveDoor(
            settings.max_body_bytes, settings.max_file_bytes, admission, introspection=settings.introspection
        ).mount(),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    if settings.metrics:
        routes.append(Route("/metrics", metrics))
    if settings.docs:
        routes += Documentation(has_graphiql=settings.graphiql).routes()
    if settings.graphiql:
        routes.append(Mount("/graphiql", graphiql.assets))
    return guard_routes(routes, PERMISSIONS if settings.graphiql else PERMISSIONS | API_WITHOUT_PAGE)


def _graphql(process: ServerProcess, schema: LimitedSchema) -> tuple[GraphQLHTTP, GraphQLWebSocket]:
    """Create GraphQL over HTTP and over WebSocket, which share their limits."""
    settings = process.settings
    trusted = TrustedDocuments.of(settings.trusted_documents, is_strict=settings.only_trusted_documents)

    over_http = GraphQLHTTP(
        schema,
        partial(request_context, max_page_size=settings.max_page_size, max_file_bytes=settings.max_file_bytes),
        settings.max_body_bytes,
        partial(graphiql.page, has_docs=settings.docs) if settings.graphiql else None,
        process.admission,
        settings.max_file_bytes,
        trusted,
    )
    over_websocket = GraphQLWebSocket(
        over_http,
        max_operations=settings.max_connection_operations,
        origins=Origins.parse(settings.cors_origins),
        shutdown=process.shutdown,
        patience_seconds=settings.shutdown_seconds * 0.8,
    )
    return over_http, over_websocket


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_depth=settings.max_query_depth,
        max_aliases=settings.max_query_aliases,
        max_tokens=settings.max_query_tokens,
        max_characters=settings.max_query_characters,
        max_cost=settings.max_query_cost,
        max_page_size=settings.max_page_size,
        max_input_values=settings.max_input_values,
        max_seconds=settings.request_timeout_seconds,
        introspection=settings.introspection,
    )


async def home(_request: Request) -> Response:
    """Redirect to the API, which shows GraphiQL to browsers; relative, so that it works behind a path prefix."""
    return RedirectResponse("graphql")


async def not_found(request: Request, _error: Exception) -> Response:
    """Return 404 with the path of the API."""
    return PlainTextResponse(f"{request.url.path} does not exist; GraphQL is at /graphql.\n", 404)


async def failed(request: Request, error: Exception) -> Response:
    """Return a masked error for an unexpected exception; the log has the details under its id."""
    masked = masked_error(error, f"at {request.url.path}")
    headers = {"X-Request-ID": request.state["request_id"]} if "request_id" in request.state else {}
    return JSONResponse({"errors": [masked.formatted]}, 500, headers)
