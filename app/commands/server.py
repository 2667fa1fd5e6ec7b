"""`loomql serve` and `loomql demo`."""

from argparse import Namespace

from app.commands.demo_loading import load_demo
from app.commands.options import Add, data_folder, listening, say, settings_of
from app.commands.server_process import serve
from app.demo import PROJECT_ID
from app.mongodb import data_location, shared_mongodb
from stores.ids import check_project_id


def add_serve(add: Add) -> None:
    """Add `serve`."""
    parser = add("serve", parents=[listening()], help="run the server until Ctrl-C")
    parser.add_argument("--workers", type=int, help="number of server processes (LOOMQL_WORKERS)")
    parser.add_argument(
        "--demo", action="store_true", help=f"first load the demo into project {PROJECT_ID}, unless it exists"
    )
    parser.set_defaults(command=run_server)


def add_demo(add: Add) -> None:
    """Add `demo`."""
    parser = add("demo", parents=[data_folder()], help="load demo calls with their objects and files")
    parser.add_argument("--project", default=PROJECT_ID, help="target project (default: %(default)s)")
    parser.set_defaults(command=demo)


def run_server(options: Namespace) -> int:
    """Run the server until a signal stops it."""
    settings = settings_of(options)
    serve(settings, prepare=lambda uri: options.demo and load_demo(settings, uri, only_if_missing=True))
    return 0


def demo(options: Namespace) -> int:
    """Load the demo data, also while a server runs."""
    settings = settings_of(options)
    check_project_id(options.project)
    with shared_mongodb(settings) as uri:
        load_demo(settings, uri, options.project)
    return say(f"The demo data is in project {options.project} of {data_location(settings)}.")
