"""OTLP over gRPC, on a port of its own, for who sets `LOOMQL_OTLP_GRPC_PORT`; it needs the extra `loomql[grpc]`."""

import asyncio
import importlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import unquote
from weakref import WeakValueDictionary

from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from app.admission.quota_keys import quota_key_for
from app.auth.callers import RouteAccess
from app.auth.guard import permission_for
from app.auth.route_permissions import GRPC
from app.http.request_body import BodyTimeoutError
from app.http.scope_state import CALLER
from app.observability import endpoints
from app.observability.request_ids import HEADER, new_ids, valid_id
from app.observability.request_record import INTERNAL, RequestRecord
from app.otlp.endpoint import COPIES, PROJECT_HEADER, check_header, project_of
from app.otlp.responses import CODES, PROTOBUF, response_of, told
from graphql_schema.errors import masked_error
from stores.concurrency.quotas import half
from stores.concurrency.request_budget import RequestBudget
from stores.errors import StoreError, UnavailableError, retry_after
from stores.otel import Exported, OtelStore
from stores.security.access import Caller, Role

if TYPE_CHECKING:
    import grpc.aio

    from app.admission.token_buckets import RateLimiter
    from app.observability.counters import RequestCounters
    from app.runtime.shutdown import Shutdown

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_AUTHORIZATION: Final = "authorization"
_REQUEST_ID: Final = HEADER.decode()

Admit = Callable[[str | None], Awaitable[Caller]]
"""Who comes with what a call says in its metadata by authorization; a StoreError refuses them."""

_Method = Callable[[Role, AsyncIterator[bytes], Any], Awaitable[bytes]]

_COMING_AT_ONCE: Final = 4
"""Messages that are on their way at once, half of them of one caller: their size is known, and counted, at the end."""

_MESSAGE_SECONDS: Final = 60.0
"""How long one may be on its way, and keep others waiting."""

_SLOT_SECONDS: Final = 5.0
"""Seconds that a request waits for a slot to send its message."""

_log = logging.getLogger("loomql")


class GrpcError(Exception):
    """OTLP over gRPC cannot be served; the message says what to change."""


@dataclass(frozen=True, slots=True)
class GrpcAddress:
    """Where to listen, and whether other processes of this server do so, too."""

    host: str
    port: int
    is_shared: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def check_grpc(address: GrpcAddress) -> None:
    """See, before anything is started, that it can be served there.

    Raises:
        GrpcError: grpcio is not installed, or nobody can listen at the address.
    """
    _grpc()
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        socket.create_server((address.host, address.port), family=family).close()
    except OSError as error:
        raise _taken(address) from error


def _grpc() -> Any:  # noqa: ANN401 -- a module
    try:
        return importlib.import_module("grpc.aio") and importlib.import_module("grpc")
    except ImportError as error:
        raise GrpcError(
            "LOOMQL_OTLP_GRPC_PORT is set, but grpcio is not installed: pip install 'loomql[grpc]', or unset it"
        ) from error


def _taken(address: GrpcAddress) -> GrpcError:
    return GrpcError(
        f"cannot listen on {address} for OTLP over gRPC: stop what uses it, or change LOOMQL_OTLP_GRPC_PORT"
    )


@asynccontextmanager
async def traces_over_grpc(
    address: GrpcAddress,
    store: OtelStore,
    max_body_bytes: int,
    entity: str,
    intake: RequestBudget,
    admit: Admit,
    rates: "RateLimiter | None" = None,
    tally: "RequestCounters | None" = None,
    stopping: "Shutdown | None" = None,
    grace_seconds: float = 5.0,
) -> AsyncIterator[None]:
    """Serve until the block ends, or the process is to stop; what is under way then has some seconds more.

    The tally counts requests.

    Raises:
        GrpcError: grpcio is not installed, or nobody can listen at the address.
        TypeError: nobody ruled on a method.
    """
    grpc = _grpc()
    handlers = _handlers(grpc, {"Export": _Traces(store, entity, intake, admit, rates, tally).export})
    limits = (("grpc.max_receive_message_length", max_body_bytes), ("grpc.so_reuseport", int(address.is_shared)))
    server = grpc.aio.server(options=limits)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    try:
        server.add_insecure_port(str(address))
    except RuntimeError as error:
        raise _taken(address) from error
    await server.start()
    _log.info("OTLP over gRPC is served at %s", address)
    ending: list[asyncio.Task[None]] = []
    if stopping:
        stopping.on_start(lambda: ending.append(asyncio.create_task(server.stop(grace_seconds))))
    try:
        yield
    finally:
        await asyncio.gather(server.stop(grace_seconds), *ending)


def _handlers(grpc: Any, methods: Mapping[str, _Method]) -> dict[str, Any]:  # noqa: ANN401 -- the module, and its own
    """The handlers of a service's methods, each of which takes the role that somebody ruled."""
    # To a client this is the same as a call with one message, which would be read before anybody is asked.
    handler = grpc.stream_unary_rpc_method_handler
    return {
        name: handler(partial(method, permission_for(f"{GRPC} /{SERVICE}/{name}").role))
        for name, method in methods.items()
    }


class _Traces:
    """The one method of OTLP's service of traces; messages come and go as bytes."""

    def __init__(
        self,
        store: OtelStore,
        entity: str,
        intake: RequestBudget,
        admit: Admit,
        rates: "RateLimiter | None",
        tally: "RequestCounters | None",
    ) -> None:
        self._rates = rates
        self._tally = tally
        self._new_ids = new_ids()
        self._admit = admit
        self._store = store
        self._entity = entity
        self._intake = intake
        self._coming = asyncio.Semaphore(_COMING_AT_ONCE)
        # Weak: a caller's semaphore is there as long as one of their calls uses it.
        self._coming_of = WeakValueDictionary[str, asyncio.Semaphore]()

    async def export(
        self, role: Role, requests: AsyncIterator[bytes], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> bytes:
        """Store what a request brings in projects in which its caller has a role; it is answered once all is stored."""
        sent = dict(context.invocation_metadata() or ())
        with self._counted(sent) as call:
            context.set_trailing_metadata(((_REQUEST_ID, call.request_id),))
            try:
                return response_of(await self._export(role, requests, context, sent, call)).SerializeToString()
            except StoreError as error:
                call.failed(error.code)
                await _refuse(context, error, CODES.get(error.code, Code.INTERNAL), call.request_id)
            except Exception as error:  # noqa: BLE001 -- whatever it is, the client gets an answer and the log the rest
                call.failed(INTERNAL)
                masked = masked_error(error, "in OTLP over gRPC")
                await _refuse(context, StoreError(masked.message), Code.INTERNAL, call.request_id)

    @contextmanager
    def _counted(self, sent: Mapping[str, str | bytes]) -> Iterator[RequestRecord]:
        """A request that is under way in the block; its status is `OK`, or `FAILED` with a code of its own."""
        given = valid_id((_text(sent.get(_REQUEST_ID)) or "").encode())
        call = RequestRecord(given or next(self._new_ids), endpoints.GRPC, {}, self._tally)
        call.make_current()
        status = "FAILED"
        in_flight = self._tally.in_flight if self._tally else Counter[str]()
        in_flight[endpoints.GRPC] += 1
        try:
            yield call
            status = "OK"
        finally:
            in_flight[endpoints.GRPC] -= 1
            call.ended(status)

    async def _export(
        self,
        role: Role,
        requests: AsyncIterator[bytes],
        context: "grpc.aio.ServicerContext[Any, Any]",
        sent: Mapping[str, str | bytes],
        call: RequestRecord,
    ) -> Exported:
        caller = call.state[CALLER] = await self._admit(_text(sent.get(_AUTHORIZATION)))
        account = quota_key_for(caller, _address(context.peer()))
        if self._rates:
            self._rates.check(account)
        access = RouteAccess(caller, role)
        caller.check_anywhere(role)
        project_id = project_of(sent.get(PROJECT_HEADER))
        check_header(project_id, access.check)
        of_caller = self._coming_of.setdefault(account, asyncio.Semaphore(half(_COMING_AT_ONCE)))
        async with self._slot(of_caller):
            request = await _message(requests)
        await self._admit(_text(sent.get(_AUTHORIZATION)))  # it took its time, in which a key may have ended
        with self._intake.reservation(account) as share:
            await share.reserve(COPIES[PROTOBUF] * len(request))
            return await self._store.export_protobuf(request, project_id, entity=self._entity, check=access.check)

    @asynccontextmanager
    async def _slot(self, of_caller: asyncio.Semaphore) -> AsyncIterator[None]:
        """Hold one of the caller's slots for a message on its way, and one of the server's.

        Raises:
            UnavailableError: none is free in time.
        """
        async with AsyncExitStack() as slots:
            try:
                async with asyncio.timeout(_SLOT_SECONDS):
                    await slots.enter_async_context(of_caller)
                    await slots.enter_async_context(self._coming)
            except TimeoutError:
                raise UnavailableError(
                    f"{_COMING_AT_ONCE} messages over gRPC are on their way, or {half(_COMING_AT_ONCE)} of yours; "
                    "nothing of this request is stored, send it again a little later"
                ) from None
            yield


def _text(value: str | bytes | None) -> str | None:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _address(peer: str) -> str:
    """The address of who is at the other end, such as `ipv4:10.0.0.5:4000` or `ipv6:%5B::1%5D:4000`."""
    host, _, _port = unquote(peer.partition(":")[2]).rpartition(":")
    return host.strip("[]")


async def _message(requests: AsyncIterator[bytes]) -> bytes:
    try:
        async with asyncio.timeout(_MESSAGE_SECONDS):
            return await anext(requests, b"")
    except TimeoutError:
        raise BodyTimeoutError(f"the message is not whole after {_MESSAGE_SECONDS:g} seconds; send it again") from None


async def _refuse(
    context: "grpc.aio.ServicerContext[Any, Any]", error: StoreError, code: int, request_id: str
) -> NoReturn:
    status = Status(code=code, message=told(error))
    if (seconds := retry_after(error)) is not None:
        retry = RetryInfo()
        retry.retry_delay.seconds = seconds
        status.details.add().Pack(retry)
    codes = {known.value[0]: known for known in _grpc().StatusCode}
    told_beside = (("grpc-status-details-bin", status.SerializeToString()), (_REQUEST_ID, request_id))
    await context.abort(codes[code], status.message, told_beside)
