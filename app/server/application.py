"""The ASGI application: its routes and middleware, and the lifespan of its process.

The process starts and stops its stores and tasks in order. At a shutdown, requests in flight are answered and their
pending writes are completed, within a time limit.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from app.admission import Admission
from app.auth.middleware import KEY_CACHE, CallerMiddleware
from app.auth.oidc import OidcTokens, parse_claim_grants
from app.auth.permissions import API_WITHOUT_PAGE, ROUTE_PERMISSIONS, guard_routes
from app.auth.sessions import Authenticator, KeyCache, key_policy_for
from app.background import BackgroundTasks, MaintenanceJobs, run_evaluations, sweep_uploads
from app.browser_security import Origins, SecurityHeadersMiddleware
from app.demo.live import write_live_calls
from app.docs import Documentation
from app.exports.endpoint import ExportEndpoint
from app.exports.worker import ExportProcessPool
from app.files import FileEndpoints
from app.graphql_http.endpoint import GraphQLHTTP, request_context
from app.graphql_http.trusted_documents import TrustedDocuments
from app.http.connections import allowed_hosts
from app.observability.metrics import METRICS, MetricsCollector, WorkerMetrics, metrics
from app.observability.requests import RequestCounters, RequestTrackingMiddleware
from app.observability.tracing import TracedCommands, TracedRequests, Tracing, trace_operations
from app.otlp.endpoint import OtlpEndpoint
from app.otlp.grpc_server import GrpcAddress, OtlpGrpc
from app.pages import EXPLORER, EXPLORER_DOCUMENTS, GRAPHIQL
from app.providers import EnvironmentProviders
from app.providers.secrets import parse_grants, parse_hosts
from app.runtime import Shutdown, shutdown_on_signals, trim_periodically
from app.server.health import Readiness, healthz, readyz
from app.settings import Settings
from app.weave.routes import WEAVE_PERMISSIONS, WeaveDoor
from app.websocket.endpoint import GraphQLWebSocket
from graphql_schema.context import Stores
from graphql_schema.engine.operations import LimitedSchema
from graphql_schema.errors import masked_error
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.calls import CallsStore
from stores.concurrency.quotas import half
from stores.database import Database
from stores.security.access import ANONYMOUS_ADMIN, ANONYMOUS_WRITER, Caller
from stores.timings import DEFAULT_TIMINGS, Timings

logger = logging.getLogger("loomql")


class ServerProcess:
    """The components of one server process that exist before there is a database, and their lifespan."""

    def __init__(self, settings: Settings, uri: str, timings: Timings) -> None:
        self.settings = settings
        self.admission = Admission.from_settings(settings, timings)
        self.counters = RequestCounters() if settings.metrics else None
        self.exports = ExportProcessPool(settings.max_exports)
        self.shutdown = Shutdown()
        endpoint, issuer = settings.otel_endpoint, settings.oidc_issuer
        self.tracing = Tracing(endpoint, settings.otel_service_name) if endpoint else None
        grants = parse_claim_grants(settings.oidc_grants)
        self.tokens = OidcTokens(issuer, str(settings.oidc_audience), grants) if issuer else None
        anonymous = ANONYMOUS_ADMIN if settings.admin else ANONYMOUS_WRITER
        self.authenticator = Authenticator(key_policy_for(settings.keys, settings.host), anonymous, self.tokens)
        self._uri = uri

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[dict[str, Any]]:
        """Start the process's tasks, yield the state of its requests, and stop the tasks at the end."""
        settings, max_subscriptions = self.settings, self.settings.max_subscriptions
        database = Database.open(
            self._uri,
            settings.mongodb_database,
            settings.database_timeout_seconds,
            settings.query_timeout_seconds,
            request_budget=self.admission.memory,
            listeners=[TracedCommands(self.tracing)] if self.tracing else [],
            timings=self.admission.timings,
        )
        providers = EnvironmentProviders(
            grants=parse_grants(settings.provider_secrets),
            timeout_seconds=settings.completion_timeout_seconds,
            gateways=parse_hosts(settings.provider_headers),
            allow_private=settings.allow_private_providers,
        )
        max_caller_subscriptions = settings.max_caller_subscriptions or half(max_subscriptions)
        calls = CallsStore(database, max_subscriptions, settings.max_event_bytes, max_caller_subscriptions)
        stores = Stores(database, providers, settings.max_completions, settings.evaluation_rows, calls)
        background = BackgroundTasks()
        readiness = Readiness(database, settings.database_timeout_seconds, stats=background.stats_of("backfill"))
        preparation = self._start_tasks(background, readiness, stores)
        key_cache = KeyCache(stores.keys)
        state: dict[str, Any] = {"stores": stores, "readiness": readiness, KEY_CACHE: key_cache}
        self.shutdown.on_start(self.exports.stop)
        self.shutdown.on_start(lambda: background.start("closing", stores.close()))
        try:
            # Wait for the indexes before the first request, but start without them if MongoDB is unreachable.
            await asyncio.wait([preparation], timeout=settings.database_timeout_seconds)
            with shutdown_on_signals(self.shutdown):
                async with self._metrics(state, stores, background), self._grpc(stores, key_cache):
                    yield state
                await self._stop_tasks(background, stores)
        finally:
            await background.stop()
            await key_cache.close()
            await providers.close()
            database.close()
            if self.tracing:
                await asyncio.to_thread(self.tracing.close)

    def _start_tasks(self, background: BackgroundTasks, readiness: Readiness, stores: Stores) -> asyncio.Task[None]:
        preparation = background.start("preparation", readiness.prepare())
        background.start("watching_version", readiness.watch())
        database = readiness.database
        for name, store, kind, unfinished in (
            ("file_sweep", stores.files, "files", [database.file_uploads, database.doomed_files]),
            ("table_sweep", stores.tables, "tables", [database.table_uploads]),
        ):
            background.start(name, sweep_uploads(name, store, kind, unfinished, background.stats_of(name)))
        background.start("upkeep", MaintenanceJobs(database, stores, background=background).run())
        background.start("memory", trim_periodically())
        if self.tokens:
            background.start("issuer_keys", self.tokens.keep_fresh())
        background.start(
            "evaluations",
            run_evaluations(stores.evaluation_runs, self.settings.evaluation_rows, background.stats_of("evaluations")),
        )
        if self.settings.demo:
            background.start("demo", write_live_calls(stores, background.stats_of("demo")))
        return preparation

    @asynccontextmanager
    async def _metrics(self, state: dict[str, Any], stores: Stores, background: BackgroundTasks) -> AsyncIterator[None]:
        if self.counters is None:
            yield
            return
        collector = MetricsCollector(self.counters, stores, self.admission, self.exports.limiter, background)
        state[METRICS] = worker_metrics = WorkerMetrics.of_environment(collector.collect)
        async with worker_metrics.serve_peers():
            yield

    def _grpc(self, stores: Stores, key_cache: KeyCache) -> AbstractAsyncContextManager[None]:
        settings = self.settings
        if settings.otlp_grpc_port is None:
            return nullcontext()

        async def admit(authorization: str | None) -> Caller:
            return (await self.authenticator.authenticate(authorization, key_cache, settings.host)).caller

        return OtlpGrpc(
            GrpcAddress(settings.host, settings.otlp_grpc_port, is_shared=settings.workers > 1),
            stores.otel,
            settings.max_body_bytes,
            settings.otlp_entity,
            request_budget=self.admission.memory,
            admit=admit,
            rates=self.admission.rates,
            counters=self.counters,
            shutdown=self.shutdown,
            grace_seconds=settings.shutdown_seconds,
            timings=self.admission.timings,
        )

    async def _stop_tasks(self, background: BackgroundTasks, stores: Stores) -> None:
        """Stop the tasks and wait for pending writes, within the time limit."""
        stopping_tasks = asyncio.create_task(_stop_and_flush(background, stores))
        forced = asyncio.create_task(self.shutdown.is_hurried.wait())
        seconds = self.settings.shutdown_seconds
        await asyncio.wait({stopping_tasks, forced}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        if not stopping_tasks.cancel():
            await stopping_tasks  # raises the error of the task, if any
        else:
            logger.error("the server stops with pending writes, because the time limit of the shutdown is over")


async def _stop_and_flush(background: BackgroundTasks, stores: Stores) -> None:
    await background.stop()
    await stores.close()


PERMISSIONS: Final = ROUTE_PERMISSIONS | WEAVE_PERMISSIONS
"""Permission by route, of all routes."""


def create_app(settings: Settings | None = None, timings: Timings = DEFAULT_TIMINGS) -> Starlette:
    """Create the ASGI application over the configured database; all its parts wait as `timings` say.

    It starts without the database: requests that need it fail until it answers, and `/readyz` gives the reason.

    Raises:
        ValueError: no database is configured.
    """
    settings = settings or Settings()
    uri = settings.mongodb_uri
    if uri is None:
        raise ValueError("No database is configured: set LOOMQL_MONGODB_URI, or run `loomql serve`, which starts one.")

    process = ServerProcess(settings, uri, timings)
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
        Route("/", partial(_home, process)),
        WebSocketRoute("/graphql", over_websocket),
        *FileEndpoints(settings.max_file_bytes, admission.memory).routes(),
        *ExportEndpoint(schema, settings, process.exports).routes(),
        *OtlpEndpoint(settings.max_body_bytes, settings.otlp_entity, admission.memory).routes(),
        WeaveDoor(
            settings.max_body_bytes, settings.max_file_bytes, admission, introspection=settings.introspection
        ).mount(),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    if settings.metrics:
        routes.append(Route("/metrics", metrics))
    if settings.docs:
        shown = {"Explorer": ("", settings.explorer), "GraphiQL": ("graphql", settings.graphiql)}
        routes += Documentation(others={title: address for title, (address, is_on) in shown.items() if is_on}).routes()
    if settings.graphiql:
        routes.append(Mount("/graphiql", GRAPHIQL))
    if settings.explorer:
        routes.append(Mount("/explorer", EXPLORER))
    return guard_routes(routes, PERMISSIONS if settings.graphiql else PERMISSIONS | API_WITHOUT_PAGE)


def _graphql(process: ServerProcess, schema: LimitedSchema) -> tuple[GraphQLHTTP, GraphQLWebSocket]:
    """Create GraphQL over HTTP and over WebSocket, which share their limits."""
    settings = process.settings
    # The page sends hashes only to a server that runs no other documents.
    is_strict = settings.only_trusted_documents
    of_page = EXPLORER_DOCUMENTS if is_strict and settings.explorer else None
    trusted = TrustedDocuments.of(settings.trusted_documents, of_page, is_strict=is_strict)

    over_http = GraphQLHTTP(
        schema,
        partial(request_context, max_page_size=settings.max_page_size, max_file_bytes=settings.max_file_bytes),
        settings.max_body_bytes,
        partial(GRAPHIQL.response, _links(settings)) if settings.graphiql else None,
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


def _links(settings: Settings) -> dict[str, str | None]:
    """Return the addresses of the pages that this server serves; they are relative, so that a path prefix works."""
    return {
        "explorer": "./" if settings.explorer else None,
        "graphiql": "graphql" if settings.graphiql else None,
        "docs": "docs" if settings.docs else None,
        "only-trusted": "" if settings.only_trusted_documents else None,
    }


async def _home(process: ServerProcess, _request: Request) -> Response:
    """Return the Explorer, or without it a redirect to the API, which shows GraphiQL to browsers."""
    settings, tokens = process.settings, process.tokens
    if not settings.explorer:
        return RedirectResponse("graphql")
    if tokens is None or settings.oidc_client_id is None:
        return EXPLORER.response(_links(settings))
    sign_in = {
        "issuer": settings.oidc_issuer,
        "clientId": settings.oidc_client_id,
        "audience": settings.oidc_audience,
        "scopes": settings.oidc_scopes,
    }
    return EXPLORER.response({**_links(settings), "oidc": json.dumps(sign_in)}, await tokens.sign_in_origins())


async def not_found(request: Request, _error: Exception) -> Response:
    """Return 404 with the path of the API."""
    return PlainTextResponse(f"{request.url.path} does not exist; GraphQL is at /graphql.\n", 404)


async def failed(request: Request, error: Exception) -> Response:
    """Return a masked error for an unexpected exception; the log has the details under its id."""
    masked = masked_error(error, f"at {request.url.path}")
    headers = {"X-Request-ID": request.state["request_id"]} if "request_id" in request.state else {}
    return JSONResponse({"errors": [masked.formatted]}, 500, headers)
