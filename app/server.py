"""The running service: its routes, and what lives as long as it does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from app import graphiql
from app.access import KEYRING, Authentication, Entrance, Keyring, caller_of, demand_of, ruled
from app.audit import OnBehalf
from app.browsers.answers import SafeAnswers
from app.browsers.hosts import OwnHosts, names_of
from app.browsers.origins import Origins
from app.downloads import FileEndpoints
from app.evaluating import evaluate
from app.exports.endpoint import ExportEndpoint
from app.exports.process import ExportProcesses
from app.file_sweep import sweep_files
from app.graphql_http import GraphQLHTTP
from app.graphql_websocket import GraphQLWebSocket
from app.health import Readiness, healthz, readyz
from app.otlp import TracesEndpoint
from app.otlp.grpc_server import Admit, GrpcAddress, traces_over_grpc
from app.providers import EnvironmentProviders
from app.providers.secrets import parse_grants, parse_hosts
from app.settings import Settings
from app.spool_space import SpoolSpace
from app.stopping import told_to_stop
from app.traffic import Places, Rates
from app.traffic.rate_limit import RateLimit
from app.trusted_documents import TrustedDocuments
from app.upkeep import Upkeep
from app.weave import WeaveDoor
from graphql_schema.context import Context, Stores
from graphql_schema.limits import Limits
from graphql_schema.schema import build_schema
from stores.access import ADMINISTRATOR, ANYONE, Caller
from stores.calls import CallsStore
from stores.database import Database
from stores.intake import Intake


def create_app(settings: Settings | None = None) -> Starlette:
    """The ASGI application over the database that the settings name.

    It comes up without the database, too: what needs it fails until it answers, and `/readyz` says so.

    Raises:
        ValueError: the settings name no database.
    """
    settings = settings or Settings()
    uri = settings.mongodb_uri
    if uri is None:
        raise ValueError("No database is named: set LOOMQL_MONGODB_URI, or run `loomql serve`, which starts one.")

    intake = Intake(settings.max_pending_bytes)
    rates = Rates(settings.rate_limit, settings.rate_burst) if settings.rate_limit else None
    exports = ExportProcesses(settings.max_exports)
    entrance = Entrance(demand_of(settings.keys, settings.host), ADMINISTRATOR if settings.admin else ANYONE)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, Any]]:
        database = Database.open(
            uri, settings.mongodb_database, settings.database_timeout_seconds, settings.query_timeout_seconds, intake
        )
        providers = _providers(settings)
        calls = CallsStore(database, settings.max_subscriptions, settings.max_event_bytes)
        stores = Stores.over(database, providers, settings.max_completions, settings.evaluation_rows, calls)
        keyring = Keyring(stores.keys)

        async def admit(authorization: str | None) -> Caller:
            return (await entrance.session(authorization, keyring, settings.host)).caller

        readiness = Readiness(database, settings.database_timeout_seconds)
        preparation = asyncio.create_task(readiness.prepare())
        sweeping = asyncio.create_task(sweep_files(stores.files))
        upkeep = asyncio.create_task(Upkeep(database, stores).go_on())
        evaluating = asyncio.create_task(evaluate(stores.evaluation_runs, settings.evaluation_rows))
        ending: list[asyncio.Task[None]] = []
        try:
            # The first request should find its indexes, but a database that is away must not keep the server down.
            await asyncio.wait([preparation], timeout=settings.database_timeout_seconds)
            with told_to_stop(exports.stop), told_to_stop(lambda: ending.append(asyncio.create_task(stores.close()))):
                async with _grpc(settings, stores, intake, admit, rates):
                    yield {"stores": stores, "readiness": readiness, KEYRING: keyring}
        finally:
            for task in (preparation, sweeping, upkeep, evaluating):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await keyring.close()
            await asyncio.gather(stores.close(), *ending)
            await providers.close()
            database.close()

    return Starlette(
        routes=_routes(settings, intake, exports, rates),
        middleware=_middleware(settings, entrance, rates),
        lifespan=lifespan,
        exception_handlers={404: not_found},
    )


def _middleware(settings: Settings, entrance: Entrance, rates: Rates | None) -> list[Middleware]:
    """What every request goes through, the outermost first; a limit that is off is not there."""
    origins = Origins.parse(settings.cors_origins)
    names = names_of(settings.host, settings.allowed_hosts)
    return [
        Middleware(SafeAnswers, origins),
        Middleware(Authentication, entrance),
        Middleware(OnBehalf),
        *([Middleware(OwnHosts, names)] if names is not None else []),
        *([Middleware(RateLimit, rates)] if rates else []),
    ]


def _routes(settings: Settings, intake: Intake, exports: ExportProcesses, rates: Rates | None) -> list[BaseRoute]:
    places = Places(settings.max_operations, settings.max_caller_operations)
    trusted = TrustedDocuments.of(settings.trusted_documents, is_strict=settings.only_trusted_documents)
    schema = build_schema(_limits(settings), compiled=settings.compiled_execution)

    def make_context(connection: HTTPConnection) -> Context:
        return Context(
            connection.state["stores"], settings.max_page_size, settings.max_file_bytes, caller=caller_of(connection)
        )

    page = graphiql.page if settings.graphiql else None
    over_http = GraphQLHTTP(
        schema,
        make_context,
        settings.max_body_bytes,
        page,
        intake,
        settings.max_file_bytes,
        SpoolSpace(settings.max_spooled_bytes),
        places,
        trusted,
    )
    over_websocket = GraphQLWebSocket(
        schema,
        make_context,
        settings.max_body_bytes,
        max_operations=settings.max_connection_operations,
        intake=intake,
        places=places,
        rates=rates,
        trusted=trusted,
        allowed_origins=tuple(Origins.parse(settings.cors_origins).names),
    )
    routes: list[BaseRoute] = [
        Route("/graphql", over_http),  # the first, since routes are tried in order
        Route("/", home),
        WebSocketRoute("/graphql", over_websocket),
        *FileEndpoints(settings.max_file_bytes, intake).routes(),
        *ExportEndpoint(schema, settings, exports).routes(),
        *TracesEndpoint(settings.max_body_bytes, settings.otlp_entity, intake).routes(),
        WeaveDoor(settings.max_body_bytes, settings.max_file_bytes, intake, places).mount(),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    return ruled([*routes, Mount("/graphiql", graphiql.assets)] if settings.graphiql else routes)


def _grpc(
    settings: Settings, stores: Stores, intake: Intake, admit: Admit, rates: Rates | None
) -> AbstractAsyncContextManager[None]:
    if settings.otlp_grpc_port is None:
        return nullcontext()
    address = GrpcAddress(settings.host, settings.otlp_grpc_port, is_shared=settings.workers > 1)
    return traces_over_grpc(address, stores.otel, settings.max_body_bytes, settings.otlp_entity, intake, admit, rates)


def _providers(settings: Settings) -> EnvironmentProviders:
    return EnvironmentProviders(
        grants=parse_grants(settings.provider_secrets),
        timeout_seconds=settings.completion_timeout_seconds,
        gateways=parse_hosts(settings.provider_headers),
        allow_private=settings.allow_private_providers,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_depth=settings.max_query_depth,
        max_aliases=settings.max_query_aliases,
        max_tokens=settings.max_query_tokens,
        max_cost=settings.max_query_cost,
        max_page_size=settings.max_page_size,
        max_seconds=settings.request_timeout_seconds,
        introspection=settings.introspection,
    )


async def home(_request: Request) -> Response:
    """Lead to the API, which shows GraphiQL to a browser; relative, so that it works behind a path prefix."""
    return RedirectResponse("graphql")


async def not_found(request: Request, _error: Exception) -> Response:
    """Say where the API is to whoever looks elsewhere."""
    return PlainTextResponse(f"There is nothing at {request.url.path}; GraphQL is at /graphql.\n", 404)
