"""`loomql serve` and `loomql demo`.

`serve` starts the database and then the server processes, and stops them in reverse order.
"""

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
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType

from pymongo.errors import PyMongoError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from starlette.applications import Starlette
from uvicorn import Config, Server

from app import demo
from app.auth.sessions import key_policy_for
from app.commands.common import Add, data_folder, listening, on_database_at, say, settings_of
from app.commands.health import ANY_ADDRESS, ask, url_of
from app.commands.keys import first_key, has_keys
from app.demo import PROJECT_ID
from app.demo.live import MAX_AGE
from app.mongodb import Client, data_location, mongodb, shared_mongodb
from app.observability.logs import AuditFile, log_config
from app.observability.metrics import folder_for
from app.otlp.grpc_server import GrpcAddress, check_grpc
from app.runtime import WorkerSupervisor, limit_heap_growth
from app.server.application import create_app
from app.server.http_protocol import HTTPProtocol
from app.settings import Settings, variable
from app.websocket.protocol import WebSocketProtocol
from graphql_schema.context import Stores
from stores import times
from stores.database import Database
from stores.errors import StoreError
from stores.ids import check_project_id
from stores.migrations import schema_version

# On a busy machine a worker needs long for its imports; killing it would only restart them.
STARTING_SECONDS = 60
POLL_SECONDS = 0.1
SWITCH_SECONDS = 0.0002
LONE_SERVER = (
    "this MongoDB is a standalone server, on which lists, objects, files and subscriptions fail: make it a replica set "
    "of one member (--replSet and replSetInitiate)"
)


class ServeError(StoreError):
    """The server cannot start; the message says what to change."""


def add_commands(add: Add) -> None:
    """Add `serve` and `demo`."""
    parser = add("serve", run_server, parents=[listening()], help="run the server until Ctrl-C")
    parser.add_argument("--workers", type=int, help="number of server processes (LOOMQL_WORKERS)")
    parser.add_argument(
        "--demo",
        action="store_true",
        default=None,
        help=f"load the demo into project {PROJECT_ID}, and write a few of its calls a minute (LOOMQL_DEMO)",
    )
    parser = add("demo", run_demo, parents=[data_folder()], help="load demo calls with their objects and files")
    parser.add_argument("--project", default=PROJECT_ID, help="target project (default: %(default)s)")


def run_server(options: Namespace) -> int:
    """Run the server until a signal stops it."""
    settings = settings_of(options)
    serve(settings, prepare=lambda uri: settings.demo and load_demo(settings, uri, only_if_stale=True))
    return 0


def run_demo(options: Namespace) -> int:
    """Load the demo data, also while a server runs."""
    settings = settings_of(options)
    check_project_id(options.project)
    with shared_mongodb(settings) as uri:
        load_demo(settings, uri, options.project)
    return say(f"The demo data is in project {options.project} of {data_location(settings)}.")


def load_demo(settings: Settings, uri: str, project_id: str = demo.PROJECT_ID, *, only_if_stale: bool = False) -> bool:
    """Write the demo data to a project, with a progress bar; return True if calls were written.

    Loading twice leaves one copy, because ids are fixed and the rest is addressed by content. With `only_if_stale`,
    calls of the last day's load are kept, and only data that an earlier version did not have is added.
    """

    async def load(database: Database) -> bool:
        await database.ensure_indexes()
        stores = Stores(database)
        loaded_at = await demo.loaded_at(stores.calls, project_id) if only_if_stale else None
        if loaded_at is not None and times.now() - loaded_at <= MAX_AGE:
            await demo.complete(stores, project_id)
            return False
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns) as bar:
            task = bar.add_task(f"Demo calls into {project_id}", total=None)
            await demo.load(stores, project_id, lambda done, total: bar.update(task, completed=done, total=total))
        return True

    return on_database_at(uri, settings, load)


def serve(settings: Settings, prepare: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM; `prepare` is called with the database's URI before the server starts."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)
    sys.unraisablehook = _exit_again
    if settings.otlp_grpc_port is not None:
        check_grpc(GrpcAddress(settings.host, settings.otlp_grpc_port))
    if settings.audit_log is not None:
        AuditFile(settings.audit_log).check()
    with bind(settings.host, settings.port) as listener, mongodb(settings) as uri:
        # The server processes read all settings from the environment, flags included.
        os.environ[variable("mongodb_uri")] = uri
        check_keys(settings, uri)
        check_version(uri, settings)
        prepare(uri)
        _announce_when_up(settings, listener)
        _run(settings, listener)


def check_keys(settings: Settings, uri: str) -> None:
    """Check that a caller can authenticate if credentials are required.

    Raises:
        ServeError: keys are required, and none exists.
    """
    if settings.oidc_issuer is not None:
        return
    if key_policy_for(settings.keys, settings.host) == "required" and not has_keys(settings, uri):
        if settings.keys == "required":
            why, alternative = f"{variable('keys')}=required", "set it to auto and listen on 127.0.0.1"
        else:
            why, alternative = f"The address {settings.host}", "listen on 127.0.0.1"
        raise ServeError(
            f"{why} requires an API key, and none exists: create one with `{first_key(settings)}`, or {alternative}. "
            "If a proxy in front of the server authenticates clients, set LOOMQL_KEYS=off."
        )


def check_version(uri: str, settings: Settings) -> None:
    """Check that the database fits this program before the server starts; skipped if MongoDB is unreachable.

    Raises:
        WrongDatabaseError: its data version does not fit, or MongoDB is a standalone server. That has neither
            transactions nor change streams.
    """
    milliseconds = int(settings.database_timeout_seconds * 1000)
    with suppress(PyMongoError), Client(uri, serverSelectionTimeoutMS=milliseconds) as client:
        hello = client.admin.command("hello")
        # A member of an uninitiated replica set has no set name yet, and may get one while the server waits.
        if not ("setName" in hello or "isreplicaset" in hello or hello.get("msg") == "isdbgrid"):
            raise schema_version.WrongDatabaseError(LONE_SERVER)
        schema_version.check_upgrades(client[settings.mongodb_database]["upgrades"])


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address, not listening yet: clients connect only when the server is up."""
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
            "stop the program that uses it, or choose another --port (0 for any free one) or --host."
        ) from error
    return listener


def worker_app() -> Starlette:
    """Return the application of one server process, which stops when its parent process dies."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_stop_after, args=(parent.sentinel,), name="parent-watch", daemon=True).start()
    limit_heap_growth()
    # A request waits this long for the interpreter while a thread computes, several times in each read. Next to one
    # such thread, a read of 5 ms takes 9 ms; 12 ms with an interval of 1 ms, and 29 ms with Python's default of 5 ms.
    # Next to three threads it takes 16 ms; 29 ms with 1 ms. An interval of 0.05 ms lost a tenth of the computing, this
    # one nothing measurable.
    sys.setswitchinterval(SWITCH_SECONDS)
    app = create_app()
    # Otherwise the garbage collector takes a sixth of the time of a large page to examine these objects.
    gc.freeze()
    # A client that disconnects during a query leaves coroutines that never started, which is harmless.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    return app


def _run(settings: Settings, listener: socket.socket) -> None:
    config = Config(
        f"{__name__}:{worker_app.__name__}",
        factory=True,
        workers=settings.workers,
        lifespan="on",
        http=HTTPProtocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.max_body_bytes,
        # uvicorn's older protocol reads 32 messages ahead, the newer one a single one.
        ws_max_queue=1,
        log_config=log_config(settings),
        # At debug level uvicorn logs each WebSocket frame, and the headers of the handshake.
        log_level="info" if settings.log_level == "debug" else settings.log_level,
        # An access log line says only POST /graphql, and takes a tenth of the time of a small request.
        access_log=settings.log_level == "debug",
        server_header=False,
        # By default uvicorn trusts the proxy headers of every loopback client.
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
    host, port = listener.getsockname()[:2]
    url, reachable = url_of(host, port), (ANY_ADDRESS.get(host, host), port)
    page = "GraphiQL" if settings.graphiql else "GraphQL "
    details = (
        *([f"  Explorer  {url}/"] if settings.explorer else []),
        f"  {page}  {url}/graphql",
        f"  Data      {data_location(settings)}",
        "  Stop      Ctrl-C",
    )

    def announce() -> None:
        while not _accepts(reachable):
            time.sleep(POLL_SECONDS)
        # Longer than the server's own timeout for the database.
        answer = ask(*reachable, "/readyz", settings.database_timeout_seconds + 1)
        sys.stdout.write("".join(f"{line}\n" for line in (_greeting(answer), *details)))
        sys.stdout.flush()

    threading.Thread(target=announce, name="announce", daemon=True).start()


def _greeting(readiness: Mapping[str, str]) -> str:
    if upgrading := readiness.get("upgrading"):
        return f"LoomQL is up. Some older calls lack threads, tokens and costs until the upgrade ends: {upgrading}."
    if readiness.get("status") == "ok":
        return "LoomQL is up."
    reason = readiness.get("reason", "no reason given")
    return f"LoomQL is up, but not ready: {reason}. It keeps trying."


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def _stop_after(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _exit(_number: int, _frame: FrameType | None) -> None:
    """Exit from any code; while uvicorn runs it has its own handlers, and calls this one afterwards."""
    raise SystemExit(0)


def _exit_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send the signal again if Python dropped its SystemExit in a destructor or a weak reference's callback."""
    if unraisable.exc_type is SystemExit:
        threading.Timer(POLL_SECONDS, os.kill, (os.getpid(), signal.SIGTERM)).start()
    elif not (unraisable.exc_type is KeyError and inspect.iscoroutine(unraisable.object)):
        # Otherwise this is a coroutine that never started, found while a named tuple is created: Python cannot warn
        # there.
        sys.__unraisablehook__(unraisable)
