"""Shared flags of subcommands, the settings that they change, and output."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.settings import Settings, variable

Add = Callable[..., ArgumentParser]
"""Adds a subcommand's parser, by name and keyword arguments of `ArgumentParser`."""

_DATA_FOLDER: Final = "folder of the embedded MongoDB (LOOMQL_DATA_DIR)"
_SETTINGS: Final = ("host", "port", "data_dir", "workers")


def listening() -> ArgumentParser:
    """Return a parent parser with the flags of the server's address and data folder."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("--host", help="address to listen on (LOOMQL_HOST)")
    flags.add_argument("--port", type=int, help="port to listen on; 0 picks a free port (LOOMQL_PORT)")
    flags.add_argument("--data-dir", type=Path, help=_DATA_FOLDER)
    return flags


def data_folder() -> ArgumentParser:
    """Return a parent parser with the flag of the data folder."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("--data-dir", type=Path, help=_DATA_FOLDER)
    return flags


def project() -> ArgumentParser:
    """Return a parent parser with a project argument."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("project", metavar="PROJECT", help="entity/project")
    return flags


def actions_of(parser: ArgumentParser) -> Add:
    """Return the function that adds actions to a subcommand."""
    return parser.add_subparsers(title="actions", required=True, metavar="ACTION").add_parser


def flags_of(options: Namespace) -> dict[str, str]:
    """Return the settings that flags set, as text."""
    return {name: str(value) for name in _SETTINGS if (value := getattr(options, name, None)) is not None}


def settings_of(options: Namespace) -> Settings:
    """Return the settings. Flags are written to the environment, from which worker processes read them, too."""
    os.environ.update({variable(name): value for name, value in flags_of(options).items()})
    return Settings()


def say(*lines: str) -> int:
    """Print lines and return exit code 0."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0
