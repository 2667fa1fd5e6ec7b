"""`loomql export` and `loomql import`."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from app.commands.export_download import own_url, run_export
from app.commands.import_run import SOME_LEFT, run_import
from app.commands.options import Add, data_folder, say, settings_of
from app.exports.client import EXPORTS


def add_export(add: Add) -> None:
    """Add `export`."""
    parser = add("export", help="write a list of the server into a file")
    parser.add_argument("concept", choices=EXPORTS, help="list to export")
    parser.add_argument("file", type=Path, metavar="FILE", help="file to write; an incomplete file is continued")
    parser.add_argument("--project", required=True, help="entity/project")
    parser.add_argument("--url", help="address of the server (default: http://LOOMQL_HOST:LOOMQL_PORT)")
    parser.add_argument("--filter", metavar="JSON", help="argument filter of the GraphQL field")
    parser.add_argument("--query", metavar="JSON", help="argument query of the GraphQL field")
    parser.add_argument("--sort-by", metavar="JSON", help="argument sortBy of the GraphQL field")
    parser.add_argument("--format", choices=("ndjson", "parquet"), help="file format (default: ndjson)")
    parser.set_defaults(command=export)


def add_import(add: Add) -> None:
    """Add `import`."""
    parser = add("import", parents=[data_folder()], help="store exported rows, calls of Weave exports, and OTLP JSON")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="files; LoomQL detects their formats")
    parser.add_argument("--project", help="target project (default: the project of each row)")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="FOLDER",
        help="folder for rejected rows and progress files (default: that of each file)",
    )
    parser.set_defaults(command=import_files)


def export(options: Namespace) -> int:
    """Export a list from a server to a file."""
    arguments = {"filter": options.filter, "query": options.query, "sortBy": options.sort_by, "format": options.format}
    parameters = {name: text for name, text in arguments.items() if text is not None}
    settings = settings_of(options)
    url, console = options.url or own_url(settings), Console(stderr=True)
    count = run_export(url, options.concept, options.project, parameters, options.file, console, settings.key)
    quantity = "all" if count is None else f"{count:,}"
    return say(f"Exported {quantity} {options.concept} of {options.project} to {options.file}.")


def import_files(options: Namespace) -> int:
    """Import files; return 3 if a line was rejected or a file is incomplete."""
    console = Console(stderr=True)
    outcomes = run_import(settings_of(options), options.files, options.project, options.beside, console)
    say(*(line for outcome in outcomes for line in outcome.lines()))
    return 0 if all(outcome.is_whole for outcome in outcomes) else SOME_LEFT
