"""OTLP over gRPC on its own port, `LOOMQL_OTLP_GRPC_PORT`; it needs the extra `loomql[grpc]`."""

import asyncio
import importlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import unquote

from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from app.admission import RateLimiter, quota_key_for
from app.auth.permissions import GRPC, RouteAccess, permission_for
from app.http.connections import CALLER, PROTOBUF
from app.http.errors import BodyTimeoutError, InternalError, reason, statuses_of
from app.observability.requests import GRPC as GRPC_ENDPOINT
from app.observability.requests import HEADER, RequestCounters, RequestRecord, new_ids, valid_id
from app.otlp.endpoint import COPIES, PROJECT_HEADER, project_of, response_of
from stores.concurrency.quotas import Limiter, RequestBudget
from stores.errors import StoreError, UnavailableError, retry_after
from stores.otel import LOGS, TRACES, Exported, OtelStore, Projects, Signal
from stores.security.access import Caller, Role
from stores.timings import DEFAULT_TIMINGS, Timings

if TYPE_CHECKING:
    import grpc.aio

    from app.runtime import Shutdown

    _Context = grpc.aio.ServicerContext[Any, Any]

_REQUEST_ID: Final = HEADER.decode()

_COMING_AT_ONCE: Final = 4
"""Limit of messages received concurrently; a caller may have half. Their size is known and reserved only at the end."""

_log = logging.getLogger("loomql")


class GrpcError(StoreError):
    """OTLP over gRPC cannot be served; the message says what to change."""


@dataclass(frozen=True, slots=True)
class GrpcAddress:
    """The address to listen on; `is_shared` lets several processes of this server listen on it."""

    host: str
    port: int
    is_shared: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def check_grpc(address: GrpcAddress) -> None:
    """Check at startup that grpcio is installed and the address is free.

    Raises:
        GrpcError: grpcio is not installed, or the address cannot be bound.
    """
    _grpc()
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        socket.create_server((address.host, address.port), family=family).close()
    except OSError as error:
        raise _address_in_use(address) from error


def _grpc() -> Any:  # noqa: ANN401 -- a module
    try:
        return importlib.import_module("grpc.aio") and importlib.import_module("grpc")
    except ImportError as error:
        raise GrpcError(
            "LOOMQL_OTLP_GRPC_PORT is set, but grpcio is not installed: pip install 'loomql[grpc]', or unset it"
        ) from error


def _address_in_use(address: GrpcAddress) -> GrpcError:
    return GrpcError(
        f"cannot listen on {address} for OTLP over gRPC: stop what uses it, or change LOOMQL_OTLP_GRPC_PORT"
    )


@dataclass
class OtlpGrpc:
    """OTLP's services of traces and logs over gRPC. It serves in its `async with` block, until the process shuts down.

    Args:
        address: the address to listen on.
        store: stores the spans and log records.
        max_body_bytes: the limit of a message.
        entity: the entity of projects that only a program's resource names.
        request_budget: the budget of memory for request bodies.
        admit: returns the caller for the `authorization` metadata of a call; raises StoreError if the credentials are
            invalid.
        rates: limits the requests of a caller; None without a limit.
        counters: counts the requests.
        shutdown: the shutdown of the process.
        grace_seconds: time for calls in flight to finish.
        timings: contains the time that a request waits for a slot, and the time that its message may take.
    """

    address: GrpcAddress
    store: OtelStore
    max_body_bytes: int
    entity: str
    request_budget: RequestBudget
    admit: Callable[[str | None], Awaitable[Caller]]
    rates: RateLimiter | None = None
    counters: RequestCounters | None = None
    shutdown: "Shutdown | None" = None
    grace_seconds: float = 5.0
    timings: Timings = DEFAULT_TIMINGS

    def __post_init__(self) -> None:
        self._new_ids = new_ids()
        self._receiving = Limiter(_COMING_AT_ONCE, _too_many_messages, wait_seconds=self.timings.slot_wait_seconds)
        self._stops: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        """Start the server.

        Raises:
            GrpcError: grpcio is not installed, or the address cannot be bound.
            TypeError: a method has no permission.
        """
        grpc = _grpc()
        # To a client this looks like a unary call. A unary handler would read the message before the caller is
        # authenticated.
        services = []
        for signal in (TRACES, LOGS):
            role = permission_for(f"{GRPC} /{signal.service}/Export").role
            handlers = {"Export": grpc.stream_unary_rpc_method_handler(partial(self.export, signal, role))}
            services.append(grpc.method_handlers_generic_handler(signal.service, handlers))
        size_limit = "grpc.max_receive_message_length", self.max_body_bytes
        self._server = grpc.aio.server(options=(size_limit, ("grpc.so_reuseport", int(self.address.is_shared))))
        self._server.add_generic_rpc_handlers(services)
        try:
            self._server.add_insecure_port(str(self.address))
        except RuntimeError as error:
            raise _address_in_use(self.address) from error
        await self._server.start()
        _log.info("OTLP over gRPC is served at %s", self.address)
        if self.shutdown:
            self.shutdown.on_start(self._stop)

    async def __aexit__(self, *_error: object) -> None:
        """Wait for the calls in flight."""
        self._stop()
        await asyncio.gather(*self._stops)

    def _stop(self) -> None:
        self._stops.append(asyncio.create_task(self._server.stop(self.grace_seconds)))

    async def export(self, signal: Signal, role: Role, requests: AsyncIterator[bytes], context: "_Context") -> bytes:
        """Store the records of a request in projects where the caller has the role; return the response message."""
        with self._counted(_header(context, _REQUEST_ID)) as call:
            context.set_trailing_metadata(((_REQUEST_ID, call.request_id),))
            try:
                exported = await self._export(signal, role, requests, context, call)
                return response_of(signal, exported).SerializeToString()
            except StoreError as error:
                await _refuse(context, error, call)
            except Exception as error:  # noqa: BLE001 -- the client gets a response, the log the details
                await _refuse(context, InternalError(error, "in OTLP over gRPC"), call)

    @contextmanager
    def _counted(self, given_id: str | None) -> Iterator[RequestRecord]:
        """Record a request in flight during the block; its status is `OK`, or `FAILED` with an error code."""
        request_id = valid_id((given_id or "").encode()) or next(self._new_ids)
        call = RequestRecord(request_id, GRPC_ENDPOINT, {}, self.counters)
        call.make_current()
        status = "FAILED"
        in_flight = self.counters.in_flight if self.counters else Counter[str]()
        in_flight[GRPC_ENDPOINT] += 1
        try:
            yield call
            status = "OK"
        finally:
            in_flight[GRPC_ENDPOINT] -= 1
            call.finish(status)

    async def _export(
        self, signal: Signal, role: Role, requests: AsyncIterator[bytes], context: "_Context", call: RequestRecord
    ) -> Exported:
        authorization = _header(context, "authorization")
        caller = call.state[CALLER] = await self.admit(authorization)
        account = quota_key_for(caller, _address(context.peer()))
        if self.rates:
            self.rates.check(account)
        access = RouteAccess(caller, role)
        caller.check_anywhere(role)
        projects = Projects(project_of(_header(context, PROJECT_HEADER)), entity=self.entity, check=access.check)
        async with self._receiving.slot(account):
            request = await self._message(requests)
        await self.admit(authorization)  # the message took time, in which the key may have expired
        with self.request_budget.reservation(account) as reservation:
            await reservation.reserve(COPIES[PROTOBUF] * len(request))
            return await self.store.export_protobuf(request, projects, signal=signal)

    async def _message(self, requests: AsyncIterator[bytes]) -> bytes:
        seconds = self.timings.message_seconds
        try:
            async with asyncio.timeout(seconds):
                return await anext(requests, b"")
        except TimeoutError:
            raise BodyTimeoutError(f"the message is not whole after {seconds:g} seconds; send it again") from None


def _too_many_messages(receiving: Limiter, _caller: str | None) -> StoreError:
    return UnavailableError(
        f"{receiving.limit} messages over gRPC are on their way, or {receiving.caller_limit} of yours; "
        "nothing of this request is stored, send it again a little later"
    )


def _header(context: "_Context", name: str) -> str | None:
    """Return the text of the call's metadata with a name; None if there is none."""
    value = dict(context.invocation_metadata() or ()).get(name)
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _address(peer: str) -> str:
    """Return the IP address of a peer such as `ipv4:10.0.0.5:4000` or `ipv6:%5B::1%5D:4000`."""
    host, _, _port = unquote(peer.partition(":")[2]).rpartition(":")
    return host.strip("[]")


async def _refuse(context: "_Context", error: StoreError, call: RequestRecord) -> NoReturn:
    call.count_error(error.code)
    status = Status(code=statuses_of(error.code).grpc, message=reason(error))
    if (seconds := retry_after(error)) is not None:
        retry = RetryInfo()
        retry.retry_delay.seconds = seconds
        status.details.add().Pack(retry)
    codes = {known.value[0]: known for known in _grpc().StatusCode}
    metadata = (("grpc-status-details-bin", status.SerializeToString()), (_REQUEST_ID, call.request_id))
    await context.abort(codes[status.code], status.message, metadata)
