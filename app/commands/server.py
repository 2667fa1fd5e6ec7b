"""`loomql serve`, `demo` and `health`: a server, what it shows, and whether it is up."""

from argparse import Namespace

from app.commands.options import Add, data_folder, listening, say, settings_of
from app.demo import PROJECT_ID
from app.demo_loading import load_demo
from app.health import ask
from app.mongodb import shared_mongodb, whereabouts
from app.serving import ANY_ADDRESS, serve
from stores.ids import check_project_id


def add_serve(add: Add) -> None:
    """`serve`."""
    parser = add("serve", parents=[listening()], help="run the server until Ctrl-C")
    parser.add_argument("--workers", type=int, help="server processes (LOOMQL_WORKERS)")
    parser.add_argument(
        "--demo", action="store_true", help=f"first load the demo into project {PROJECT_ID}, unless it is there"
    )
    parser.set_defaults(command=run_server)


def add_demo(add: Add) -> None:
    """`demo`."""
    parser = add("demo", parents=[data_folder()], help="load demo calls and what they refer to")
    parser.add_argument("--project", default=PROJECT_ID, help="project to load them into (default: %(default)s)")
    parser.set_defaults(command=demo)


def add_health(add: Add) -> None:
    """`health`."""
    parser = add(
        "health", help="ask a server whether it is up; for what watches it, such as a container's health check"
    )
    parser.add_argument("--host", help="its address (LOOMQL_HOST)")
    parser.add_argument("--port", type=int, help="its port (LOOMQL_PORT)")
    parser.add_argument("--ready", action="store_true", help="whether its database can serve, too")
    parser.set_defaults(command=health)


def run_server(options: Namespace) -> int:
    """Serve until a signal ends it."""
    settings = settings_of(options)
    serve(settings, prepare=lambda uri: options.demo and load_demo(settings, uri, only_if_missing=True))
    return 0


def demo(options: Namespace) -> int:
    """Load the demo data, also while a server runs."""
    settings = settings_of(options)
    check_project_id(options.project)
    with shared_mongodb(settings) as uri:
        load_demo(settings, uri, options.project)
    told = f"The demo calls, and what they refer to, are in project {options.project} of {whereabouts(settings)}."
    return say(told)


def health(options: Namespace) -> int:
    """Ask a server; 1 if it is not up, or not ready."""
    settings = settings_of(options)
    host = ANY_ADDRESS.get(settings.host, settings.host)
    path = "/readyz" if options.ready else "/healthz"
    answer = ask(host, settings.port, path, settings.database_timeout_seconds + 1)
    say(answer.get("reason") or answer.get("status") or f"nobody answers at {host} port {settings.port}")
    return 0 if answer.get("status") == "ok" else 1
