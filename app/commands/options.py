"""What subcommands share: flags, settings as the flags make them, and lines for people."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.settings import Settings, variable

Add = Callable[..., ArgumentParser]
"""Gives the parser of a new subcommand, by its name and what it is for."""

_DATA_FOLDER: Final = "folder of the embedded MongoDB (LOOMQL_DATA_DIR)"
_SETTINGS: Final = ("host", "port", "data_dir", "workers")


def listening() -> ArgumentParser:
    """The flags of where the server and its data are, as a parent of parsers."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("--host", help="address to listen on (LOOMQL_HOST)")
    flags.add_argument("--port", type=int, help="port to listen on; 0 picks a free port (LOOMQL_PORT)")
    flags.add_argument("--data-dir", type=Path, help=_DATA_FOLDER)
    return flags


def data_folder() -> ArgumentParser:
    """The flag of where the embedded database is, as a parent of parsers."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("--data-dir", type=Path, help=_DATA_FOLDER)
    return flags


def project() -> ArgumentParser:
    """A project as an argument, as a parent of parsers."""
    flags = ArgumentParser(add_help=False)
    flags.add_argument("project", metavar="PROJECT", help="entity/project")
    return flags


def actions_of(parser: ArgumentParser) -> Add:
    """What adds the actions of a subcommand that has several."""
    return parser.add_subparsers(title="actions", required=True, metavar="ACTION").add_parser


def flags_of(options: Namespace) -> dict[str, str]:
    """The settings that were given by flags."""
    return {name: str(value) for name in _SETTINGS if (value := getattr(options, name, None)) is not None}


def settings_of(options: Namespace) -> Settings:
    """The settings; flags go through the environment, where the server processes read them, too."""
    os.environ.update({variable(name): value for name, value in flags_of(options).items()})
    return Settings()


def say(*lines: str) -> int:
    """Print lines; the exit code of what went well."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0
