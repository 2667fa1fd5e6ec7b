"""`loomql backup` and `loomql restore`: the whole database into a file, and back."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from app.backups.dump import take
from app.backups.restore import restore
from app.commands.options import Add, data_folder, say, settings_of
from app.mongodb import Client, mongodb, shared_mongodb, whereabouts


def add_backup(add: Add) -> None:
    """`backup`."""
    parser = add("backup", parents=[_flags()], help="write a snapshot of the whole database into a file")
    parser.set_defaults(command=take_backup)


def add_restore(add: Add) -> None:
    """`restore`."""
    parser = add("restore", parents=[_flags()], help="load a backup into an empty database")
    parser.set_defaults(command=restore_backup)


def take_backup(options: Namespace) -> int:
    """Take a backup, also while a server runs."""
    settings = settings_of(options)
    with shared_mongodb(settings) as uri, Client(uri) as client:
        counts = take(client, settings.mongodb_database, options.file, is_own=settings.mongodb_uri is None)
    return say(f"{options.file} has all {sum(counts.values()):,} documents of {whereabouts(settings)}.")


def restore_backup(options: Namespace) -> int:
    """Restore one."""
    settings = settings_of(options)
    with mongodb(settings) as uri, Client(uri) as client:
        counts = restore(client, settings.mongodb_database, options.file)
    return say(f"{whereabouts(settings)} has all {sum(counts.values()):,} documents of {options.file}.")


def _flags() -> ArgumentParser:
    flags = ArgumentParser(add_help=False, parents=[data_folder()])
    flags.add_argument("file", type=Path, metavar="FILE", help="backup file")
    return flags
