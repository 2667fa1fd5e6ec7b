"""`loomql export` and `loomql import`: lists into files, and files into the database."""

from argparse import Namespace
from pathlib import Path

from rich.console import Console

from app.commands.options import Add, data_folder, say, settings_of
from app.exports.client import EXPORTS
from app.exports.command import own_url, run_export
from app.imports.command import SOME_LEFT, run_import


def add_export(add: Add) -> None:
    """`export`."""
    parser = add("export", help="write a list of a server's into a file")
    parser.add_argument("concept", choices=EXPORTS, help="calls, objects, feedback or threads")
    parser.add_argument("file", type=Path, metavar="FILE", help="file to write, or to go on with if it was cut off")
    parser.add_argument("--project", required=True, help="the project, as entity/project")
    parser.add_argument("--url", help="the server (default: http://LOOMQL_HOST:LOOMQL_PORT)")
    parser.add_argument("--filter", metavar="JSON", help="as the argument of the GraphQL field")
    parser.add_argument("--query", metavar="JSON", help="as the argument of the GraphQL field")
    parser.add_argument("--sort-by", metavar="JSON", help="as the argument sortBy of the GraphQL field")
    parser.add_argument("--format", choices=("ndjson", "parquet"), help="ndjson if left out")
    parser.set_defaults(command=export)


def add_import(add: Add) -> None:
    """`import`."""
    parser = add("import", parents=[data_folder()], help="store exported rows, Weave's calls, and OTLP JSON")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="files; their kinds are recognised")
    parser.add_argument("--project", help="project to store all of it in (default: the one that each row names)")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="folder of rejects and progress")
    parser.set_defaults(command=import_files)


def export(options: Namespace) -> int:
    """Write a list into a file."""
    given = {"filter": options.filter, "query": options.query, "sortBy": options.sort_by, "format": options.format}
    parameters = {name: text for name, text in given.items() if text is not None}
    settings = settings_of(options)
    url, console = options.url or own_url(settings), Console(stderr=True)
    count = run_export(url, options.concept, options.project, parameters, options.file, console, settings.key)
    all_of_them = "all the" if count is None else f"all {count:,}"
    return say(f"{options.file} has {all_of_them} {options.concept} of {options.project} that were asked for.")


def import_files(options: Namespace) -> int:
    """Store files; 3 if not all of what there should be is stored."""
    console = Console(stderr=True)
    outcomes = run_import(settings_of(options), options.files, options.project, options.beside, console)
    say(*(line for outcome in outcomes for line in outcome.lines()))
    return 0 if all(outcome.is_whole for outcome in outcomes) else SOME_LEFT
