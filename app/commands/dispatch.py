"""Parser of all subcommands, and the one-line report of expected errors."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from app.commands import (
    backups,
    export_import,
    health,
    indexes,
    inspection,
    keys,
    prices,
    projects,
    retention,
    search,
    server,
)
from app.commands.error_messages import EXPECTED, plainly
from app.commands.options import flags_of

Command = Callable[[argparse.Namespace], int]


def run(arguments: Sequence[str]) -> int:
    """Run one subcommand and return its exit code."""
    options = parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except BrokenPipeError:
        # The reader of the output closed the pipe; without a valid stdout, Python would report the error again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EXPECTED as error:
        sys.stderr.write(f"loomql: {plainly(error, flags_of(options))}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    top = argparse.ArgumentParser(prog="loomql", description="A GraphQL API over MongoDB for LLM traces.")
    top.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    add = top.add_subparsers(title="commands", required=True, metavar="COMMAND").add_parser
    server.add_serve(add)
    server.add_demo(add)
    export_import.add_export(add)
    export_import.add_import(add)
    backups.add_backup(add)
    backups.add_restore(add)
    health.add_health(add)
    indexes.add_index(add)
    search.add_search(add)
    retention.add_retention(add)
    projects.add_project(add)
    keys.add_key(add)
    prices.add_price(add)
    inspection.add_doctor(add)
    inspection.add_schema(add)
    inspection.add_settings(add)
    return top


def _version() -> str:
    try:
        return version("loomql")
    except PackageNotFoundError:
        return "from source, not installed"
