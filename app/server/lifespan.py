"""What lives as long as a server process does: its stores, its tasks, and the order in which all of it begins and ends.

What was accepted is finished: requests have their answers and what goes on behind them is written, within a bound.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from app.admission import OperationLimiter, RateLimiter
from app.admission.spool_budget import SpoolBudget
from app.admission.websockets import WebSockets
from app.auth import KEYRING, Authenticator, KeyCache, key_policy_for
from app.auth.oidc import OidcTokens
from app.auth.oidc.claim_grants import parse_claim_grants
from app.background.evaluation_worker import run_evaluation_worker
from app.background.maintenance import MaintenanceJobs
from app.background.tasks import BackgroundTasks
from app.background.upload_sweep import sweep_uploads
from app.exports.worker_processes import ExportProcessPool
from app.observability.counters import RequestCounters
from app.observability.prometheus import MetricsCollector
from app.observability.tracing import TracedCommands, Tracing
from app.observability.worker_metrics import METRICS, WorkerMetrics
from app.otlp.grpc_server import GrpcAddress, traces_over_grpc
from app.providers import EnvironmentProviders
from app.providers.secrets import parse_grants, parse_hosts
from app.runtime.heap_trimming import trim_periodically
from app.runtime.shutdown import Shutdown, shutdown_on_signals
from app.server.health import Readiness
from app.settings import Settings
from graphql_schema.context import Stores
from stores.calls import CallsStore
from stores.concurrency.quotas import half
from stores.concurrency.request_budget import RequestBudget
from stores.database import Database
from stores.security.access import ANONYMOUS_ADMIN, ANONYMOUS_WRITER, Caller

logger = logging.getLogger("loomql")


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """What one server process has from its first request on, before there is a database."""

    settings: Settings
    uri: str
    tally: RequestCounters | None
    intake: RequestBudget
    places: OperationLimiter
    spool_space: SpoolBudget
    websockets: WebSockets
    exports: ExportProcessPool
    entrance: Authenticator
    tokens: OidcTokens | None
    rates: RateLimiter | None
    tracing: Tracing | None
    stopping: Shutdown = field(default_factory=Shutdown)

    @classmethod
    def from_settings(cls, settings: Settings, uri: str) -> "ServerProcess":
        """As the settings have it."""
        traced, tokens = settings.otel_endpoint, _tokens(settings)
        return cls(
            settings,
            uri,
            RequestCounters() if settings.metrics else None,
            RequestBudget(settings.max_pending_bytes),
            OperationLimiter(settings.max_operations, settings.max_caller_operations or half(settings.max_operations)),
            SpoolBudget(settings.max_spooled_bytes),
            WebSockets(settings.max_websockets),
            ExportProcessPool(settings.max_exports),
            _entrance(settings, tokens),
            tokens,
            RateLimiter(settings.rate_limit, settings.rate_burst) if settings.rate_limit else None,
            Tracing(traced, settings.otel_service_name) if traced else None,
        )

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[dict[str, Any]]:
        """The state that its requests find, until it ends."""
        settings = self.settings
        database = self._database()
        providers = _providers(settings)
        max_subscriptions = settings.max_subscriptions
        of_caller = settings.max_caller_subscriptions or half(max_subscriptions)
        watching = max_subscriptions, settings.max_event_bytes, of_caller
        calls = CallsStore(database, *watching)
        stores = Stores.for_database(database, providers, settings.max_completions, settings.evaluation_rows, calls)
        readiness = Readiness(database, settings.database_timeout_seconds)
        background = BackgroundTasks()
        preparation = self._begin(background, readiness, stores)
        keyring = KeyCache(stores.keys)
        state: dict[str, Any] = {"stores": stores, "readiness": readiness, KEYRING: keyring}
        self.stopping.on_start(self.exports.stop)
        self.stopping.on_start(lambda: background.start("closing", stores.close()))
        try:
            # The first request should find its indexes, but a database that is away must not keep the server down.
            await asyncio.wait([preparation], timeout=settings.database_timeout_seconds)
            with shutdown_on_signals(self.stopping):
                async with self._metrics(state, stores, background), self._grpc(stores, keyring):
                    yield state
                await self._end(background, stores)
        finally:
            await background.stop()
            await keyring.close()
            await providers.close()
            database.close()
            if self.tracing:
                await asyncio.to_thread(self.tracing.close)

    def _database(self) -> Database:
        settings = self.settings
        timeouts = settings.database_timeout_seconds, settings.query_timeout_seconds
        listeners = [TracedCommands(self.tracing)] if self.tracing else []
        return Database.open(self.uri, settings.mongodb_database, *timeouts, self.intake, listeners)

    def _begin(self, background: BackgroundTasks, readiness: Readiness, stores: Stores) -> asyncio.Task[None]:
        rows = self.settings.evaluation_rows
        preparation = background.start("preparation", readiness.prepare())
        background.start("watching_version", readiness.watch())
        background.start("file_sweep", sweep_uploads(stores.files, "files", background.runs_of("file_sweep")))
        background.start("table_sweep", sweep_uploads(stores.tables, "tables", background.runs_of("table_sweep")))
        background.start("upkeep", MaintenanceJobs(readiness.database, stores, background=background).go_on())
        background.start("memory", trim_periodically())
        if self.tokens:
            background.start("issuer_keys", self.tokens.keep_fresh())
        if rows:
            background.start("evaluations", run_evaluation_worker(stores.evaluation_runs, rows))
        return preparation

    @asynccontextmanager
    async def _metrics(self, state: dict[str, Any], stores: Stores, background: BackgroundTasks) -> AsyncIterator[None]:
        if self.tally is None:
            yield
            return
        bounds = self.intake, self.places, self.spool_space, self.websockets, self.exports
        observed = MetricsCollector(self.tally, stores.calls.database, stores, *bounds, background)
        state[METRICS] = siblings = WorkerMetrics.of_environment(observed.collect)
        async with siblings.serve_peers():
            yield

    def _grpc(self, stores: Stores, keyring: KeyCache) -> AbstractAsyncContextManager[None]:
        settings = self.settings
        if settings.otlp_grpc_port is None:
            return nullcontext()

        async def admit(authorization: str | None) -> Caller:
            return (await self.entrance.authenticate(authorization, keyring, settings.host)).caller

        address = GrpcAddress(settings.host, settings.otlp_grpc_port, is_shared=settings.workers > 1)
        bounds = settings.max_body_bytes, settings.otlp_entity, self.intake
        ending = self.stopping, settings.shutdown_seconds
        return traces_over_grpc(address, stores.otel, *bounds, admit, self.rates, self.tally, *ending)

    async def _end(self, background: BackgroundTasks, stores: Stores) -> None:
        """End the tasks, and wait for what is still to be written, for as long as that may take."""
        ending = asyncio.create_task(_ended(background, stores))
        hurry = asyncio.create_task(self.stopping.is_hurried.wait())
        seconds = self.settings.shutdown_seconds
        await asyncio.wait({ending, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not ending.cancel():
            await ending  # what went wrong with it is raised
        else:
            logger.error("the server stops before all was written that was still to be")


async def _ended(background: BackgroundTasks, stores: Stores) -> None:
    await background.stop()
    await stores.close()


def _tokens(settings: Settings) -> OidcTokens | None:
    if settings.oidc_issuer is None:
        return None
    return OidcTokens(settings.oidc_issuer, str(settings.oidc_audience), parse_claim_grants(settings.oidc_grants))


def _entrance(settings: Settings, tokens: OidcTokens | None) -> Authenticator:
    anonymous = ANONYMOUS_ADMIN if settings.admin else ANONYMOUS_WRITER
    return Authenticator(key_policy_for(settings.keys, settings.host), anonymous, tokens)


def _providers(settings: Settings) -> EnvironmentProviders:
    return EnvironmentProviders(
        grants=parse_grants(settings.provider_secrets),
        timeout_seconds=settings.completion_timeout_seconds,
        gateways=parse_hosts(settings.provider_headers),
        allow_private=settings.allow_private_providers,
    )
