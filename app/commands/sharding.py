"""`loomql shard`: the shard keys of a cluster."""

from argparse import Namespace
from typing import Final

from rich.console import Console
from rich.text import Text

from app.commands.common import Add, aligned, on_database, say, settings_of
from app.mongodb import Client, check_uri, data_location
from app.settings import Settings, variable
from app.sharding import MANAGER, Need, ShardingError, User, explained_rights, is_cluster, needs

_RIGHTS: Final = ("enableSharding", "createIndex")


def add_commands(add: Add) -> None:
    """Add `shard`."""
    parser = add("shard", shard, help="show or set the shard keys of a sharded cluster; servers may run")
    parser.add_argument(
        "--apply", action="store_true", dest="applies", help="build the indexes and shard the collections"
    )


def shard(options: Namespace) -> int:
    """Print what each collection needs; with `--apply`, do it."""
    settings = settings_of(options)
    if settings.mongodb_uri is None:
        raise ShardingError(_no_cluster("the embedded MongoDB"), "mongodb_uri")
    check_uri(settings.mongodb_uri)
    with Client(settings.mongodb_uri) as client:
        if not is_cluster(client):
            name = client.admin.command("hello").get("setName")
            raise ShardingError(_no_cluster(f"the replica set {name}" if name else "a standalone server"))
        if options.applies:
            _apply(client, settings)
        return _show(list(needs(client, settings.mongodb_database)), settings)


def _no_cluster(server: str) -> str:
    return (
        f"this is {server}, not a sharded cluster, so there is nothing to shard: to use a cluster, set "
        f"{variable('mongodb_uri')} to its routers (mongos)"
    )


def _show(found: list[Need], settings: Settings) -> int:
    missing = sum(not need.is_met for need in found)
    rows = [("  " if need.is_met else "+ ", need.wanted.collection, need.text()) for need in found]
    end = (
        f"{data_location(settings)} lacks shard keys or their indexes in {missing} of {len(found)} collections. "
        "Nothing was changed: run `loomql shard --apply`."
        if missing
        else f"{data_location(settings)} is sharded."
    )
    return say(*aligned(rows), end)


def _apply(client: Client, settings: Settings) -> None:
    user = User.of(client)
    if lacking := user.lacks(_RIGHTS, settings.mongodb_database):
        raise ShardingError(
            f"the {user.text} lacks the rights {', '.join(lacking)}: grant the role {MANAGER} with "
            f"{user.grant(MANAGER, 'admin')} and readWrite with {user.grant('readWrite', settings.mongodb_database)}"
        )
    # Some of these indexes support shard keys.
    on_database(settings, lambda database: database.ensure_indexes())
    with Console(stderr=True).status("") as status, explained_rights(client, MANAGER):
        for need in needs(client, settings.mongodb_database):
            if not need.is_met:
                status.update(Text(f"{need.wanted.collection}: {need.text()} …"))
                need.apply(client, settings.mongodb_database)
