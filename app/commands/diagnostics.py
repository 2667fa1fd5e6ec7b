"""`loomql doctor`: checks of the configuration, MongoDB, the data, the port and GraphiQL. `schema` and `settings`."""

import os
import platform
import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from pymongo.errors import PyMongoError
from rich.console import Console

from app.commands.cluster_checks import check_cluster, check_user
from app.commands.common import Add, aligned, flags_of, listening, say, settings_of
from app.commands.findings import Finding, Level, attempt, ok, problem, warning
from app.commands.health import ANY_ADDRESS, ask
from app.commands.server import LONE_SERVER, ServeError, bind
from app.embedded_mongod import DataFolder, EmbeddedMongodError, embedded_mongod, find_mongod, mongod_version
from app.mongodb import Client, MongodbUriError, check_uri, data_location, driver_message
from app.pages import EXPLORER, GRAPHIQL
from app.settings import PREFIX, Settings, markdown_table, masked, table, text, variable
from app.sharding import is_cluster
from graphql_schema.schema import sdl
from stores.database import indexes
from stores.migrations import schema_version
from stores.migrations.schema_version import WrongDatabaseError

OLDEST_MONGODB = 6
TESTED_MONGODB = ("6.0", "7.0")
ROOM_MB = 1_500
MB = 1_000_000
# Variables of the installation and of the tests, which the server does not read.
OTHER_VARIABLES = {
    "LOOMQL_SKIP_PAGES",
    "LOOMQL_TEST_MONGOD",
    "LOOMQL_TEST_MONGODB_URI",
    "LOOMQL_TEST_MONGOS",
    "LOOMQL_TEST_TOPOLOGY",
    "LOOMQL_REQUIRE_BROWSER",
    "LOOMQL_REQUIRE_CLICKHOUSE",
    "LOOMQL_REQUIRE_CLIENTS",
    "LOOMQL_REQUIRE_MONGODB7",
    "LOOMQL_REQUIRE_SYSTEMD",
    "LOOMQL_REQUIRE_WEAVE",
}


_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def add_commands(add: Add) -> None:
    """Add `doctor`, `schema` and `settings`."""
    add("doctor", doctor, parents=[listening()], help="check the configuration and the connections")
    add("schema", print_schema, help="print the GraphQL schema (SDL)")
    parser = add("settings", print_settings, help="print all settings")
    parser.add_argument("--markdown", action="store_true", help="as Markdown tables")


def doctor(options: Namespace) -> int:
    """Print each finding on a line; return 1 if one is a problem."""
    console = Console(soft_wrap=True, highlight=False, emoji=False, markup=False)
    worst = Level.OK
    for finding in examine(settings_of(options), flags=flags_of(options)):
        console.print(f"{finding.level.name.lower():<8}", style=_STYLES[finding.level], end="")
        console.print(f"{finding.subject}: {finding.text}")
        worst = max(worst, finding.level)
    return 1 if worst is Level.PROBLEM else 0


def print_schema(_options: Namespace) -> int:
    """Print the schema as SDL."""
    return say(sdl().rstrip())


def print_settings(options: Namespace) -> int:
    """Print the table of settings, aligned for a terminal or as Markdown."""
    if options.markdown:
        return say(markdown_table())
    return say(*aligned([(row.variable, row.default, row.description) for row in table()]))


def examine(settings: Settings, flags: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings as the checks run; `flags` are the settings that came from the command line."""
    yield ok("Python", f"{platform.python_version()} on {sys.platform} {platform.machine()}")
    yield from _configuration(settings, flags)
    if settings.mongodb_uri is None:
        yield from _embedded(settings)
    else:
        yield from _database(settings.mongodb_uri, settings)
    yield _pages(settings)
    yield _port(settings)


def _configuration(settings: Settings, flags: Mapping[str, str]) -> Iterator[Finding]:
    given = {name.upper() for name, value in os.environ.items() if value}
    for field in Settings.model_fields:
        value = text(getattr(settings, field))
        name = variable(field)
        origin = "the command line" if field in flags else "the environment" if name in given else "default"
        yield ok(name, f"{masked(value) if field == 'mongodb_uri' else value} ({origin})")
    known = [row.variable for row in table()]
    for name in sorted(name for name in given if name.startswith(PREFIX)):
        if name not in known and name not in OTHER_VARIABLES:
            # Without the common prefix, which would make all names similar.
            near = get_close_matches(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], 1)
            hint = f"did you mean {PREFIX}{near[0]}?" if near else "`loomql settings` lists all settings."
            yield warning(name, f"is set but is not a setting: {hint}")


def _embedded(settings: Settings) -> Iterator[Finding]:
    folder = DataFolder(settings.data_dir)
    try:
        binary = find_mongod(settings.mongod)
        yield ok("mongod", f"{binary}, version {mongod_version(binary)}")
    except EmbeddedMongodError as error:
        yield problem("mongod", str(error))
        return
    yield _writable(folder.path)
    yield _room(folder.path)
    yield _socket(folder)
    holder = folder.holder()
    if holder is not None:
        yield ok("data folder", f"in use by LoomQL, process {holder}")
        yield from _database(folder.uri, settings)
    else:
        yield from _trial(settings)


def _trial(settings: Settings) -> Iterator[Finding]:
    """Start the binary over an empty folder, so that the check does not touch the user's data."""
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="loomql-") as scratch,
            embedded_mongod(Path(scratch), settings.mongod, settings.mongod_cache_gb),
        ):
            took = time.monotonic() - began
            yield ok("embedded MongoDB", f"not running; it starts in {took:.1f} s (tested in a temporary folder)")
    except EmbeddedMongodError as error:
        yield problem("embedded MongoDB", str(error))


def _writable(path: Path) -> Finding:
    existing = _nearest(path)
    if not existing.is_dir():
        return problem("data folder", f"{existing} is a file: move it or set LOOMQL_DATA_DIR to another folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        return problem("data folder", f"{existing} is not writable: change its owner or set LOOMQL_DATA_DIR.")
    return ok(
        "data folder", f"{path} is writable" if existing == path else f"{path} will be created at the first start"
    )


def _room(path: Path) -> Finding:
    free = shutil.disk_usage(_nearest(path)).free // MB
    if free < ROOM_MB:
        return warning("disk", f"{free:,} MB free: MongoDB's journal and operation log alone may take {ROOM_MB:,} MB.")
    return ok("disk", f"{free:,} MB free")


def _socket(folder: DataFolder) -> Finding:
    where = f"{folder.socket} ({len(bytes(folder.socket))} bytes)"
    if folder.socket.parent != folder.path:
        where += ", in a separate folder because the data folder's path is too long for a socket"
    return ok("socket", where)


def _database(uri: str, settings: Settings) -> Iterator[Finding]:
    milliseconds = int(settings.database_timeout_seconds * 1000)
    try:
        check_uri(uri)
        with Client(
            uri,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
        ) as client:
            client.admin.command("ping")
            yield _latency(client, settings)
            yield _version(client)
            yield _topology(client)
            has_shards = is_cluster(client)
            yield from attempt("user", lambda: check_user(client, settings, has_shards=has_shards))
            if has_shards:
                yield from check_cluster(client, uri, settings)
            yield from attempt("data", lambda: [_data(client, settings.mongodb_database)])
            yield from attempt("indexes", lambda: [_indexes(client, settings.mongodb_database)])
    except MongodbUriError as error:
        yield problem("database", str(error))
    except (PyMongoError, ValueError) as error:
        message = driver_message(error).rstrip(".")
        yield problem(
            "database",
            f"{data_location(settings)} does not answer: {message}. Check that it runs, and LOOMQL_MONGODB_URI.",
        )


def _latency(client: Client, settings: Settings) -> Finding:
    began = time.monotonic()
    client.admin.command("ping")
    return ok("database", f"{data_location(settings)} answers in {(time.monotonic() - began) * 1000:.1f} ms")


def _version(client: Client) -> Finding:
    version = str(client.server_info()["version"])
    if int(version.partition(".")[0]) < OLDEST_MONGODB:
        return problem("MongoDB", f"version {version} is too old: LoomQL needs {OLDEST_MONGODB} or later.")
    if not version.startswith(tuple(f"{tested}." for tested in TESTED_MONGODB)):
        return warning("MongoDB", f"version {version}; LoomQL is tested on {' and '.join(TESTED_MONGODB)} only.")
    return ok("MongoDB", f"version {version}")


def _topology(client: Client) -> Finding:
    hello = client.admin.command("hello")
    if hello.get("msg") == "isdbgrid":
        return ok("topology", "sharded cluster")
    if "setName" not in hello:
        return problem("topology", f"{LONE_SERVER}.")
    if not hello.get("isWritablePrimary"):
        return problem(
            "topology", f"this member of replica set {hello['setName']} is not the primary: see rs.status()."
        )
    return ok("topology", f"replica set {hello['setName']}, primary {hello.get('primary')}")


def _data(client: Client, database: str) -> Finding:
    try:
        number = schema_version.check_upgrades(client[database]["upgrades"])
    except WrongDatabaseError as error:
        return problem("data", f"{error.message}.")
    if number < schema_version.LATEST and client[database]["calls"].find_one({}, {"_id": 1}):
        lacking = "; ".join(message for each, message in schema_version.UPGRADES.items() if each > number)
        return warning("data", f"version {number} of {schema_version.LATEST}; `loomql serve` upgrades: {lacking}")
    return ok("data", f"version {number or schema_version.LATEST} of {schema_version.LATEST}")


def _indexes(client: Client, database: str) -> Finding:
    missing = []
    for collection, models in indexes.models().items():
        lacking = indexes.missing(models, client[database][collection].list_indexes())
        missing += [f"{collection}.{model.document['name']}" for model in lacking]
    if missing:
        return warning("indexes", f"missing: {', '.join(missing)}. `loomql serve` builds them when it starts.")
    return ok("indexes", "all exist")


def _pages(settings: Settings) -> Finding:
    pages = [page for page, is_on in ((EXPLORER, settings.explorer), (GRAPHIQL, settings.graphiql)) if is_on]
    if not pages:
        return ok("pages", "switched off (LOOMQL_EXPLORER, LOOMQL_GRAPHIQL)")
    if missing := [page.title for page in pages if not page.is_built]:
        names = " and ".join(missing)
        return warning("pages", f"assets are missing for {names}: install LoomQL again without LOOMQL_SKIP_PAGES.")
    names = " and ".join(page.title for page in pages)
    return ok("pages", f"{names} {'is' if len(pages) == 1 else 'are'} installed")


def _port(settings: Settings) -> Finding:
    where = f"{settings.host} port {settings.port}"
    host = ANY_ADDRESS.get(settings.host, settings.host)
    if settings.port and ask(host, settings.port, "/healthz", timeout_seconds=2) == {"status": "ok"}:
        return ok("port", f"LoomQL answers on {where}")
    try:
        bind(settings.host, settings.port).close()
    except ServeError as error:
        return problem("port", str(error))
    return ok("port", f"{where} is free")


def _nearest(path: Path) -> Path:
    """Return the path, or its nearest existing ancestor."""
    return next(candidate for candidate in (path, *path.parents) if os.access(candidate, os.F_OK))
