"""Parser of all subcommands, and the one-line reports of expected errors."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError
from pymongo.errors import ConfigurationError, PyMongoError

from app.commands import (
    backups,
    diagnostics,
    exports,
    health,
    imports,
    indexes,
    keys,
    prices,
    projects,
    server,
    sharding,
)
from app.commands.common import Command, adder, flags_of
from app.mongodb import driver_message
from app.observability.metrics import installed_version
from app.settings import variable
from stores.errors import StoreError, UnavailableError


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
    except (StoreError, SettingsError, ValidationError, PyMongoError, OSError) as error:
        sys.stderr.write(f"loomql: {plainly(error, flags_of(options))}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    top = argparse.ArgumentParser(prog="loomql", description="A GraphQL API over MongoDB for LLM traces.")
    version = installed_version("from source, not installed")
    top.add_argument("--version", action="version", version=f"%(prog)s {version}")
    add = adder(top, "command")
    for module in (server, exports, imports, backups, health, indexes, projects, keys, prices, sharding, diagnostics):
        module.add_commands(add)
    return top


def plainly(error: Exception, flags: Mapping[str, str]) -> str:
    """Return the message of an error without secret values; `flags` maps settings to the flags that set them."""
    cause = error.__cause__ if isinstance(error, UnavailableError) else error
    if isinstance(cause, ConfigurationError):
        return f"{variable('mongodb_uri')} does not lead to a MongoDB server: {driver_message(cause)}"
    if isinstance(error, UnavailableError):
        return "the database does not answer; run `loomql doctor` for details."
    if isinstance(error, ValidationError):
        return "; ".join(_problem(details, flags) for details in error.errors())
    if isinstance(error, PyMongoError):
        return f"the database returned an error: {driver_message(error)}"
    return str(error)


def _problem(details: ErrorDetails, flags: Mapping[str, str]) -> str:
    if not details["loc"]:
        return details["msg"].removeprefix("Value error, ")
    name = str(details["loc"][0])
    value = "" if name == "mongodb_uri" else f" (it is {details['input']!r})"
    origin = f"--{name.replace('_', '-')}" if name in flags else variable(name)
    return f"{origin}: {details['msg'].removeprefix('Value error, ')}{value}"
