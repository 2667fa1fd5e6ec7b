"""`loomql backup` and `loomql restore`."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from app.backups import restore, write_backup
from app.commands.common import Add, data_folder, say, settings_of
from app.mongodb import Client, data_location, mongodb, shared_mongodb
from app.sharding import is_cluster, needs


def add_commands(add: Add) -> None:
    """Add `backup` and `restore`."""
    flags = ArgumentParser(add_help=False, parents=[data_folder()])
    flags.add_argument("file", type=Path, metavar="FILE", help="backup file")
    add("backup", take_backup, parents=[flags], help="write a snapshot of the whole database into a file")
    add("restore", restore_backup, parents=[flags], help="load a backup into an empty database")


def take_backup(options: Namespace) -> int:
    """Write a backup, also while a server runs."""
    settings = settings_of(options)
    with shared_mongodb(settings) as uri, Client(uri) as client:
        counts = write_backup(client, settings.mongodb_database, options.file, is_own=settings.mongodb_uri is None)
    return say(f"Wrote {sum(counts.values()):,} documents to {options.file}, all of {data_location(settings)}.")


def restore_backup(options: Namespace) -> int:
    """Restore a backup into an empty database."""
    settings = settings_of(options)
    with mongodb(settings) as uri, Client(uri) as client:
        counts = restore(client, settings.mongodb_database, options.file)
        lacks_keys = is_cluster(client) and not all(need.is_met for need in needs(client, settings.mongodb_database))
    hint = ["Collections are not sharded: run `loomql shard --apply`."] if lacks_keys else []
    return say(
        f"Restored all {sum(counts.values()):,} documents of {options.file} to {data_location(settings)}.", *hint
    )
