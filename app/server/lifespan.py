"""Lifespan of a server process: its stores and tasks, started and stopped in order.

At a shutdown, requests in flight are answered and their pending writes are completed, within a time limit.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from starlette.applications import Starlette

from app.admission import Admission
from app.auth.middleware import KEY_CACHE
from app.auth.oidc import OidcTokens, parse_claim_grants
from app.auth.sessions import Authenticator, KeyCache, key_policy_for
from app.background import BackgroundTasks, MaintenanceJobs, run_evaluations, sweep_uploads
from app.exports.worker import ExportProcessPool
from app.observability.metrics import METRICS, MetricsCollector, WorkerMetrics
from app.observability.requests import RequestCounters
from app.observability.tracing import TracedCommands, Tracing
from app.otlp.grpc_server import GrpcAddress, GrpcTraces
from app.providers import EnvironmentProviders
from app.providers.secrets import parse_grants, parse_hosts
from app.runtime import Shutdown, shutdown_on_signals, trim_periodically
from app.server.health import Readiness
from app.settings import Settings
from graphql_schema.context import Stores
from stores.calls import CallsStore
from stores.concurrency.quotas import half
from stores.database import Database
from stores.security.access import ANONYMOUS_ADMIN, ANONYMOUS_WRITER, Caller

logger = logging.getLogger("loomql")


class ServerProcess:
    """The components of one server process that exist before there is a database, and their lifespan."""

    def __init__(self, settings: Settings, uri: str) -> None:
        self.settings = settings
        self.admission = Admission.from_settings(settings)
        self.counters = RequestCounters() if settings.metrics else None
        self.exports = ExportProcessPool(settings.max_exports)
        self.shutdown = Shutdown()
        endpoint, issuer = settings.otel_endpoint, settings.oidc_issuer
        self.tracing = Tracing(endpoint, settings.otel_service_name) if endpoint else None
        grants = parse_claim_grants(settings.oidc_grants)
        self._tokens = OidcTokens(issuer, str(settings.oidc_audience), grants) if issuer else None
        anonymous = ANONYMOUS_ADMIN if settings.admin else ANONYMOUS_WRITER
        self.authenticator = Authenticator(key_policy_for(settings.keys, settings.host), anonymous, self._tokens)
        self._uri = uri

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[dict[str, Any]]:
        """Start the process's tasks, yield the state of its requests, and stop the tasks at the end."""
        settings, max_subscriptions = self.settings, self.settings.max_subscriptions
        timeouts = settings.database_timeout_seconds, settings.query_timeout_seconds
        listeners = [TracedCommands(self.tracing)] if self.tracing else []
        database = Database.open(self._uri, settings.mongodb_database, *timeouts, self.admission.memory, listeners)
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
        if self._tokens:
            background.start("issuer_keys", self._tokens.keep_fresh())
        background.start(
            "evaluations",
            run_evaluations(stores.evaluation_runs, self.settings.evaluation_rows, background.stats_of("evaluations")),
        )
        return preparation

    @asynccontextmanager
    async def _metrics(self, state: dict[str, Any], stores: Stores, background: BackgroundTasks) -> AsyncIterator[None]:
        if self.counters is None:
            yield
            return
        limits = self.admission, self.exports.limiter
        collector = MetricsCollector(self.counters, stores.calls.database, stores, *limits, background)
        state[METRICS] = worker_metrics = WorkerMetrics.of_environment(collector.collect)
        async with worker_metrics.serve_peers():
            yield

    def _grpc(self, stores: Stores, key_cache: KeyCache) -> AbstractAsyncContextManager[None]:
        settings = self.settings
        if settings.otlp_grpc_port is None:
            return nullcontext()

        async def admit(authorization: str | None) -> Caller:
            return (await self.authenticator.authenticate(authorization, key_cache, settings.host)).caller

        address = GrpcAddress(settings.host, settings.otlp_grpc_port, is_shared=settings.workers > 1)
        bounds = settings.max_body_bytes, settings.otlp_entity, self.admission.memory
        stopping_tasks = self.shutdown, settings.shutdown_seconds
        return GrpcTraces(address, stores.otel, *bounds, admit, self.admission.rates, self.counters, *stopping_tasks)

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
