"""`loomql serve`: the database below, the server processes above, and their end in that order."""

import gc
import inspect
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from types import FrameType

from starlette.applications import Starlette
from uvicorn import Config, Server

from app.auth.authenticator import key_policy_for
from app.background.migration_runner import check_version
from app.commands.health import ANY_ADDRESS, ask
from app.commands.keys import first_key, has_keys
from app.http_connections import HTTPProtocol
from app.mongodb import mongodb, whereabouts
from app.observability.audit_log import AuditFile
from app.observability.logs import log_config
from app.observability.worker_metrics import folder_for
from app.otlp.grpc_server import GrpcAddress, check_grpc
from app.runtime.heap_trimming import keep_little
from app.runtime.uvicorn_shutdown import WorkerSupervisor
from app.server.application import create_app
from app.settings import Settings, variable
from app.websocket.handshake_limits import HandshakeLimitProtocol

# On a busy machine a worker takes long to import all of this; one that is killed for it begins from the start.
STARTING_SECONDS = 60
POLL_SECONDS = 0.1
SWITCH_SECONDS = 0.0002


class ServeError(Exception):
    """The server cannot start; the message says what to change."""


def serve(settings: Settings, prepare: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM; `prepare` gets the database's URI before the server comes up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    sys.unraisablehook = _leave_a_little_later
    if settings.otlp_grpc_port is not None:
        check_grpc(GrpcAddress(settings.host, settings.otlp_grpc_port))
    if settings.audit_log is not None:
        AuditFile(settings.audit_log).check()
    with bind(settings.host, settings.port) as listener, mongodb(settings) as uri:
        # The server processes read their settings from the environment, whatever the flags were.
        os.environ[variable("mongodb_uri")] = uri
        check_keys(settings, uri)
        check_version(uri, settings)
        prepare(uri)
        _announce_when_up(settings, listener)
        _run(settings, listener)


def check_keys(settings: Settings, uri: str) -> None:
    """See that somebody can come in where not everybody may.

    Raises:
        ServeError: nobody can.
    """
    if settings.oidc_issuer is not None:
        return
    if key_policy_for(settings.keys, settings.host) == "required" and not has_keys(settings, uri):
        if settings.keys == "required":
            why, other_way = f"{variable('keys')}=required", "set it to auto and listen on 127.0.0.1"
        else:
            why, other_way = f"The address {settings.host}", "listen on 127.0.0.1"
        raise ServeError(
            f"{why} needs a key, and there is none: make one with `{first_key(settings)}`, or {other_way}. "
            "Where something before the server says who may come in, LOOMQL_KEYS=off serves without."
        )


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not yet listening: nobody is let in before the server is up."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServeError(f"{host} is not an address of this machine ({error.strerror}): change --host.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ServeError(
            f"Cannot listen on {host} port {port} ({error.strerror}): "
            "stop what uses it, or choose another --port (0 takes any free one) or --host."
        ) from error
    return listener


def worker_app() -> Starlette:
    """The application of one server process, which ends when the process that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), name="parent-watch", daemon=True).start()
    keep_little()
    # A request waits this long for the interpreter while a thread computes, several times in each read. A read of 5 ms
    # takes 9 ms beside one such thread; with 1 ms it took 12, with Python's default of 5 ms 29. Beside three threads it
    # takes 16 ms; with 1 ms it took 29. A tenth of the computing was lost with 0.05 ms, and none, within noise, here.
    sys.setswitchinterval(SWITCH_SECONDS)
    app = create_app()
    # The garbage collector would take a sixth of the time of a large page to look through all this in vain.
    gc.freeze()
    # Who hangs up in the middle of a query leaves coroutines that never began; there is nothing to do about them.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    return app


def base_url(listener: socket.socket) -> str:
    """`http://host:port` as a browser on this machine would reach it."""
    host, port = listener.getsockname()[:2]
    host = ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _run(settings: Settings, listener: socket.socket) -> None:
    config = Config(
        f"{__name__}:{worker_app.__name__}",
        factory=True,
        workers=settings.workers,
        lifespan="on",
        http=HTTPProtocol,
        ws=HandshakeLimitProtocol,
        ws_max_size=settings.max_body_bytes,
        # With its older protocol, uvicorn would read 32 messages ahead; the newer one reads one.
        ws_max_queue=1,
        log_config=log_config(settings),
        # At debug it would write down each frame of a WebSocket, and the headers that open it.
        log_level="info" if settings.log_level == "debug" else settings.log_level,
        # A line a request says no more than POST /graphql, and takes a tenth of a small one's time.
        access_log=settings.log_level == "debug",
        server_header=False,
        # By itself uvicorn would believe whoever comes from the loopback.
        proxy_headers=bool(os.environ.get("FORWARDED_ALLOW_IPS")),
        timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds),
        timeout_worker_healthcheck=STARTING_SECONDS,
    )
    if settings.workers == 1:
        Server(config).run(sockets=[listener])
        return
    with folder_for(settings.workers):
        WorkerSupervisor(config, sockets=[listener]).run()


def _announce_when_up(settings: Settings, listener: socket.socket) -> None:
    url = base_url(listener)
    address = listener.getsockname()
    reachable = (ANY_ADDRESS.get(address[0], address[0]), address[1])
    page = "GraphiQL" if settings.graphiql else "GraphQL "
    whereto = (
        f"  {page}  {url}/graphql",
        f"  Data      {whereabouts(settings)}",
        "  Stop      Ctrl-C",
    )

    def announce() -> None:
        while not _accepts(reachable):
            time.sleep(POLL_SECONDS)
        # A little more than the server takes to find out.
        answer = ask(*reachable, "/readyz", settings.database_timeout_seconds + 1)
        sys.stdout.write("".join(f"{line}\n" for line in (_greeting(answer), *whereto)))
        sys.stdout.flush()

    threading.Thread(target=announce, name="announce", daemon=True).start()


def _greeting(readiness: Mapping[str, str]) -> str:
    if upgrading := readiness.get("upgrading"):
        return f"LoomQL is up. Older calls lack threads, tokens and costs until all are looked through: {upgrading}."
    if readiness.get("status") == "ok":
        return "LoomQL is up."
    reason = readiness.get("reason", "it does not say why")
    return f"LoomQL is up, but not ready: {reason}. It goes on trying."


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def _end_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Unwind whatever is under way; the server has its own handlers while it runs, and calls this one after."""
    raise SystemExit(0)


def _leave_a_little_later(lost: "sys.UnraisableHookArgs") -> None:
    """Python drops what is raised inside a destructor or a weak reference's callback: then the signal comes again."""
    if lost.exc_type is SystemExit:
        threading.Timer(POLL_SECONDS, os.kill, (os.getpid(), signal.SIGTERM)).start()
    elif not (lost.exc_type is KeyError and inspect.iscoroutine(lost.object)):
        # That would be a coroutine that never began, found while a named tuple is made: Python cannot warn of it there.
        sys.__unraisablehook__(lost)
