"""The command `loomql`."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError
from pymongo.errors import ConfigurationError, PyMongoError
from rich.console import Console

from app import keeping, keys, searching
from app import settings as setting
from app.demo import PROJECT_ID
from app.demo_loading import load_demo
from app.doctor import Level, examine
from app.embedded_mongod import EmbeddedMongodError
from app.exports.client import EXPORTS, ExportError
from app.exports.command import own_url, run_export
from app.imports.command import SOME_LEFT, run_import
from app.mongodb import MongodbUriError, driver_words, shared_mongodb, whereabouts
from app.otlp.grpc_server import GrpcError
from app.serving import ServeError, serve
from app.settings import Settings
from app.user_indexes import EVERY_PROJECT, add_index, drop_index, index_lines
from graphql_schema.schema import sdl
from stores.access import Role
from stores.errors import StoreError, UnavailableError
from stores.ids import check_project_id
from stores.retention import Rule

FLAGS = ("host", "port", "data_dir", "workers")
STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}

EXPECTED = (
    EmbeddedMongodError,
    ExportError,
    GrpcError,
    MongodbUriError,
    ServeError,
    StoreError,
    SettingsError,
    ValidationError,
    PyMongoError,
    OSError,
)

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, 3 imported but for some lines, or from a
    file that is not whole.
    """
    options = parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python must not complain again when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EXPECTED as error:
        sys.stderr.write(f"loomql: {_plainly(error, _flags(options))}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The subcommands and their flags."""
    top = argparse.ArgumentParser(prog="loomql", description="A GraphQL API over MongoDB for LLM traces.")
    top.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--host", help="address to listen on (LOOMQL_HOST)")
    where.add_argument("--port", type=int, help="port to listen on, 0 for any free one (LOOMQL_PORT)")
    where.add_argument("--data-dir", type=Path, help="folder of the embedded MongoDB (LOOMQL_DATA_DIR)")

    serving = commands.add_parser("serve", parents=[where], help="run the server until Ctrl-C")
    serving.add_argument("--workers", type=int, help="server processes (LOOMQL_WORKERS)")
    serving.add_argument(
        "--demo", action="store_true", help=f"first load the demo into project {PROJECT_ID}, unless it is there"
    )
    serving.set_defaults(command=serve_command)

    demo = commands.add_parser("demo", help="load demo calls and what they refer to")
    demo.add_argument("--project", default=PROJECT_ID, help="project to load them into (default: %(default)s)")
    demo.add_argument("--data-dir", type=Path, help="folder of the embedded MongoDB (LOOMQL_DATA_DIR)")
    demo.set_defaults(command=demo_command)

    _add_transfer_parsers(commands.add_parser)
    _add_index_parser(commands.add_parser("index", help="index a path into the JSON of calls, for queries by it"))

    _add_search_parser(
        commands.add_parser("search", help="index the texts of a project's calls, so that searches are quick")
    )

    _add_retention_parser(commands.add_parser("retention", help="say what is kept of a project's calls"))
    _add_project_parser(commands.add_parser("project", help="remove a whole project"))
    _add_key_parser(commands.add_parser("key", help="say who may come in"))

    doctor = commands.add_parser("doctor", parents=[where], help="say what is configured and what answers")
    doctor.set_defaults(command=doctor_command)

    schema = commands.add_parser("schema", help="print the schema in GraphQL's schema language")
    schema.set_defaults(command=schema_command)

    table = commands.add_parser("settings", help="print every setting")
    table.add_argument("--markdown", action="store_true", help="as the table in the README")
    table.set_defaults(command=settings_command)
    return top


def _add_transfer_parsers(add: Callable[..., argparse.ArgumentParser]) -> None:
    exporting = add("export", help="write a list of a server's into a file")
    exporting.add_argument("concept", choices=EXPORTS, help="calls, objects, feedback or threads")
    exporting.add_argument("file", type=Path, metavar="FILE", help="file to write, or to go on with if it was cut off")
    exporting.add_argument("--project", required=True, help="the project, as entity/project")
    exporting.add_argument("--url", help="the server (default: http://LOOMQL_HOST:LOOMQL_PORT)")
    exporting.add_argument("--filter", metavar="JSON", help="as the argument of the GraphQL field")
    exporting.add_argument("--query", metavar="JSON", help="as the argument of the GraphQL field")
    exporting.add_argument("--sort-by", metavar="JSON", help="as the argument sortBy of the GraphQL field")
    exporting.add_argument("--format", choices=("ndjson", "parquet"), help="ndjson if left out")
    exporting.set_defaults(command=export_command)

    importing = add("import", help="store exported rows, Weave's calls, and OTLP JSON")
    importing.add_argument("files", type=Path, nargs="+", metavar="FILE", help="files; their kinds are recognised")
    importing.add_argument("--project", help="project to store all of it in (default: the one that each row names)")
    importing.add_argument("--beside", type=Path, metavar="FOLDER", help="folder of rejects and progress")
    importing.add_argument("--data-dir", type=Path, help="folder of the embedded MongoDB (LOOMQL_DATA_DIR)")
    importing.set_defaults(command=import_command)


def _add_index_parser(index: argparse.ArgumentParser) -> None:
    actions = index.add_subparsers(title="actions", required=True, metavar="ACTION")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data-dir", type=Path, help="folder of the embedded MongoDB (LOOMQL_DATA_DIR)")
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("project", metavar=f"PROJECT-OR-{EVERY_PROJECT}", help=f"entity/project, or {EVERY_PROJECT}")
    which.add_argument("path", metavar="PATH", help="a path into a payload, such as inputs.customer_id")
    adding = actions.add_parser("add", parents=[which, where], help="build an index, also while a server runs")
    adding.set_defaults(command=index_add_command)
    dropping = actions.add_parser("drop", parents=[which, where], help="take an index away")
    dropping.set_defaults(command=index_drop_command)
    listing = actions.add_parser("list", parents=[where], help="list the indexes that were added, with their sizes")
    listing.set_defaults(command=index_list_command)


def _add_retention_parser(retention: argparse.ArgumentParser) -> None:
    actions = retention.add_subparsers(title="actions", required=True, metavar="ACTION")
    which, where, rule = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    which.add_argument("project", metavar="PROJECT", help="entity/project")
    where.add_argument("--data-dir", type=Path, help="folder of the embedded MongoDB (LOOMQL_DATA_DIR)")
    rule.add_argument("--keep-days", type=int, metavar="N", help="keep so many days")
    rule.add_argument("--keep-calls", type=int, metavar="N", help="keep so many of the newest calls")
    setting_it = actions.add_parser("set", parents=[which, rule, where], help="set the whole rule of a project")
    setting_it.set_defaults(command=retention_set_command, usage_error=setting_it.error)
    dropping = actions.add_parser("drop", parents=[which, where], help="take a rule away: everything is kept")
    dropping.set_defaults(command=retention_drop_command)
    looking = actions.add_parser("preview", parents=[which, rule, where], help="say what a rule would remove now")
    looking.set_defaults(command=retention_preview_command)
    sweeping = actions.add_parser("sweep", parents=[which, where], help="remove now what the rule does not keep")
    sweeping.set_defaults(command=retention_sweep_command)
    showing = actions.add_parser("show", parents=[where], help="show the rules and their last sweeps")
    showing.add_argument("project", metavar="PROJECT", nargs="?", help="entity/project; all with a rule if left out")
    showing.set_defaults(command=retention_show_command)


def _add_search_parser(search: argparse.ArgumentParser) -> None:
    actions = search.add_subparsers(title="actions", required=True, metavar="ACTION")
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("project", metavar="PROJECT", help="entity/project")
    which.add_argument("--data-dir", type=Path, help="folder of the embedded MongoDB (LOOMQL_DATA_DIR)")
    on = actions.add_parser("on", parents=[which], help="have an index, also while a server runs")
    on.set_defaults(command=search_set_command, is_on=True)
    off = actions.add_parser("off", parents=[which], help="have none any more: searches scan")
    off.set_defaults(command=search_set_command, is_on=False)
    status = actions.add_parser("status", parents=[which], help="say whether there is one, and how far it is")
    status.set_defaults(command=search_status_command)


def _add_project_parser(project: argparse.ArgumentParser) -> None:
    actions = project.add_subparsers(title="actions", required=True, metavar="ACTION")
    purging = actions.add_parser("purge", help="remove a project for good, with all that is in it")
    purging.add_argument("project", metavar="PROJECT", help="entity/project")
    purging.add_argument("--confirm", metavar="PROJECT", help="the same again, where nobody can be asked")
    purging.add_argument("--data-dir", type=Path, help="folder of the embedded MongoDB (LOOMQL_DATA_DIR)")
    purging.set_defaults(command=project_purge_command)


def _add_key_parser(key: argparse.ArgumentParser) -> None:
    actions = key.add_subparsers(title="actions", required=True, metavar="ACTION")
    which, where, until = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    which.add_argument("id", metavar="ID", help="the key's public id, which follows loomql_ in it")
    where.add_argument("--data-dir", type=Path, help="folder of the embedded MongoDB (LOOMQL_DATA_DIR)")
    until.add_argument("--expires", metavar="WHEN", help="when it ends: a span such as 90d, or a time in ISO 8601")
    making = actions.add_parser("create", parents=[until, where], help="make a key, and print it this once")
    making.add_argument(
        "--project",
        metavar="PROJECT",
        required=True,
        action="append",
        help="entity/project, entity/* for all of an entity, or * for all; several times for several",
    )
    making.add_argument("--role", required=True, choices=[str(role) for role in Role if role], help="what it may do")
    making.add_argument("--name", help="what people know it by")
    making.set_defaults(command=key_create_command)
    rotating = actions.add_parser("rotate", parents=[which, until, where], help="make a key in the place of another")
    rotating.add_argument("--grace", metavar="SPAN", help="how long the other lets its owner in yet, such as 1d")
    rotating.set_defaults(command=key_rotate_command)
    revoking = actions.add_parser("revoke", parents=[which, where], help="let nobody in by a key any more")
    revoking.set_defaults(command=key_revoke_command)
    listing = actions.add_parser("list", parents=[where], help="list the keys, without what lets somebody in")
    listing.set_defaults(command=key_list_command)


def serve_command(options: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    settings = _settings(options)
    serve(settings, prepare=lambda uri: options.demo and load_demo(settings, uri, only_if_missing=True))
    return 0


def demo_command(options: argparse.Namespace) -> int:
    """Load the demo data, also while a server runs."""
    settings = _settings(options)
    check_project_id(options.project)
    with shared_mongodb(settings) as uri:
        load_demo(settings, uri, options.project)
    _say(f"The demo calls, and what they refer to, are in project {options.project} of {whereabouts(settings)}.")
    return 0


def export_command(options: argparse.Namespace) -> int:
    """Write a list into a file."""
    given = {"filter": options.filter, "query": options.query, "sortBy": options.sort_by, "format": options.format}
    parameters = {name: text for name, text in given.items() if text is not None}
    settings = _settings(options)
    url, console = options.url or own_url(settings), Console(stderr=True)
    count = run_export(url, options.concept, options.project, parameters, options.file, console, settings.key)
    all_of_them = "all the" if count is None else f"all {count:,}"
    _say(f"{options.file} has {all_of_them} {options.concept} of {options.project} that were asked for.")
    return 0


def import_command(options: argparse.Namespace) -> int:
    """Store files; 3 if not all of what there should be is stored."""
    console = Console(stderr=True)
    outcomes = run_import(_settings(options), options.files, options.project, options.beside, console)
    for outcome in outcomes:
        for line in outcome.lines():
            _say(line)
    return 0 if all(outcome.is_whole for outcome in outcomes) else SOME_LEFT


def index_add_command(options: argparse.Namespace) -> int:
    """Build an index."""
    _say(add_index(_settings(options), options.project, options.path))
    return 0


def index_drop_command(options: argparse.Namespace) -> int:
    """Take an index away."""
    _say(drop_index(_settings(options), options.project, options.path))
    return 0


def index_list_command(options: argparse.Namespace) -> int:
    """Print a line for each index."""
    for line in index_lines(_settings(options)) or ["No index was added yet."]:
        _say(line)
    return 0


def retention_set_command(options: argparse.Namespace) -> int:
    """Set the rule of a project."""
    rule = Rule(options.keep_days, options.keep_calls)
    if not rule:
        options.usage_error("name --keep-days, --keep-calls or both; `loomql retention drop` takes a rule away")
    return _say_all(keeping.set_rule(_settings(options), options.project, rule))


def retention_drop_command(options: argparse.Namespace) -> int:
    """Take the rule of a project away."""
    return _say_all(keeping.set_rule(_settings(options), options.project, Rule()))


def retention_preview_command(options: argparse.Namespace) -> int:
    """Say what a rule would remove."""
    rule = Rule(options.keep_days, options.keep_calls)
    return _say_all(keeping.preview(_settings(options), options.project, rule))


def retention_sweep_command(options: argparse.Namespace) -> int:
    """Sweep a project."""
    return _say_all(keeping.sweep(_settings(options), options.project))


def retention_show_command(options: argparse.Namespace) -> int:
    """Show what is kept."""
    return _say_all(keeping.show(_settings(options), options.project))


def search_set_command(options: argparse.Namespace) -> int:
    """Switch the index of a project's texts."""
    return _say_all(searching.set_index(_settings(options), options.project, is_on=options.is_on))


def search_status_command(options: argparse.Namespace) -> int:
    """Tell of it."""
    return _say_all(searching.show(_settings(options), options.project))


def project_purge_command(options: argparse.Namespace) -> int:
    """Purge a project, once its id was given a second time."""
    confirm = options.confirm
    if confirm is None and sys.stdin.isatty():
        confirm = input(f"This removes all of {options.project} for good. Repeat its id to go on: ")
    return _say_all(keeping.purge(_settings(options), options.project, confirm or ""))


def key_create_command(options: argparse.Namespace) -> int:
    """Make a key."""
    keys.say(*keys.create(_settings(options), options.project, options.role, options.name, options.expires))
    return 0


def key_rotate_command(options: argparse.Namespace) -> int:
    """Make a key in the place of another."""
    keys.say(*keys.rotate(_settings(options), options.id, options.grace, options.expires))
    return 0


def key_revoke_command(options: argparse.Namespace) -> int:
    """End a key."""
    return _say_all(keys.revoke(_settings(options), options.id))


def key_list_command(options: argparse.Namespace) -> int:
    """List the keys."""
    return _say_all(keys.lines(_settings(options)))


def doctor_command(options: argparse.Namespace) -> int:
    """Print each finding on a line of its own; 1 if one of them is a problem."""
    console = Console(soft_wrap=True, highlight=False, emoji=False, markup=False)
    worst = Level.OK
    for finding in examine(_settings(options), flags=_flags(options)):
        console.print(f"{finding.level.name.lower():<8}", style=STYLES[finding.level], end="")
        console.print(f"{finding.subject}: {finding.text}")
        worst = max(worst, finding.level)
    return 1 if worst is Level.PROBLEM else 0


def schema_command(_options: argparse.Namespace) -> int:
    """Print the SDL."""
    _say(sdl().rstrip())
    return 0


def settings_command(options: argparse.Namespace) -> int:
    """Print the table of settings, aligned for a terminal or as Markdown."""
    if options.markdown:
        _say(setting.markdown_table())
        return 0
    rows = setting.table()
    name_width, default_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        _say(f"{row.variable:<{name_width}}  {row.default:<{default_width}}  {row.description}")
    return 0


def _version() -> str:
    try:
        return version("loomql")
    except PackageNotFoundError:
        return "from source, not installed"


def _flags(options: argparse.Namespace) -> dict[str, str]:
    return {name: str(value) for name in FLAGS if (value := getattr(options, name, None)) is not None}


def _settings(options: argparse.Namespace) -> Settings:
    """The settings; flags go through the environment, where the server processes read them, too."""
    os.environ.update({setting.variable(name): value for name, value in _flags(options).items()})
    return Settings()


def _plainly(error: Exception, flags: Mapping[str, str]) -> str:
    """One line of what is wrong, without a value that may be a secret."""
    cause = error.__cause__ if isinstance(error, UnavailableError) else error
    if isinstance(cause, ConfigurationError):
        return f"{setting.variable('mongodb_uri')} leads to no database: {driver_words(cause)}"
    if isinstance(error, UnavailableError):
        return "the database does not answer; `loomql doctor` says more."
    if isinstance(error, ValidationError):
        return "; ".join(_problem(details, flags) for details in error.errors())
    if isinstance(error, PyMongoError):
        return f"the database refused: {driver_words(error)}"
    return str(error)


def _problem(details: ErrorDetails, flags: Mapping[str, str]) -> str:
    name = str(details["loc"][0])
    value = "" if name == "mongodb_uri" else f" (it is {details['input']!r})"
    origin = f"--{name.replace('_', '-')}" if name in flags else setting.variable(name)
    return f"{origin}: {details['msg'].removeprefix('Value error, ')}{value}"


def _say_all(lines: Sequence[str]) -> int:
    for line in lines:
        _say(line)
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
