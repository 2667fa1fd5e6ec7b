"""`loomql doctor`, `loomql schema` and `loomql settings`."""

from argparse import Namespace
from typing import Final

from rich.console import Console

from app import settings as setting
from app.commands.diagnostics import Level, examine
from app.commands.options import Add, flags_of, listening, say, settings_of
from graphql_schema.schema import sdl

_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


def add_doctor(add: Add) -> None:
    """Add `doctor`."""
    parser = add("doctor", parents=[listening()], help="check the configuration and the connections")
    parser.set_defaults(command=doctor)


def add_schema(add: Add) -> None:
    """Add `schema`."""
    parser = add("schema", help="print the GraphQL schema (SDL)")
    parser.set_defaults(command=schema)


def add_settings(add: Add) -> None:
    """Add `settings`."""
    parser = add("settings", help="print all settings")
    parser.add_argument("--markdown", action="store_true", help="as Markdown tables")
    parser.set_defaults(command=settings)


def doctor(options: Namespace) -> int:
    """Print each finding on a line; return 1 if one is a problem."""
    console = Console(soft_wrap=True, highlight=False, emoji=False, markup=False)
    worst = Level.OK
    for finding in examine(settings_of(options), flags=flags_of(options)):
        console.print(f"{finding.level.name.lower():<8}", style=_STYLES[finding.level], end="")
        console.print(f"{finding.subject}: {finding.text}")
        worst = max(worst, finding.level)
    return 1 if worst is Level.PROBLEM else 0


def schema(_options: Namespace) -> int:
    """Print the schema as SDL."""
    return say(sdl().rstrip())


def settings(options: Namespace) -> int:
    """Print the table of settings, aligned for a terminal or as Markdown."""
    if options.markdown:
        return say(setting.markdown_table())
    rows = setting.table()
    name_width = max(len(row.variable) for row in rows)
    default_width = max(len(row.default) for row in rows)
    return say(*(f"{row.variable:<{name_width}}  {row.default:<{default_width}}  {row.description}" for row in rows))
