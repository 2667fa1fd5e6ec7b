"""`loomql project`: a project as a whole, for the operator, beside a server or not."""

import sys
from argparse import Namespace

from rich.console import Console
from rich.text import Text

from app.commands.databases import on_stores
from app.commands.options import Add, actions_of, data_folder, project, say, settings_of


def add_project(add: Add) -> None:
    """`project` and its action."""
    action = actions_of(add("project", help="remove a whole project"))
    purging = action(
        "purge", parents=[project(), data_folder()], help="remove a project for good, with all that is in it"
    )
    purging.add_argument("--confirm", metavar="PROJECT", help="the same again, where nobody can be asked")
    purging.set_defaults(command=purge)


def purge(options: Namespace) -> int:
    """Remove a project with all that is in it, once its id was given a second time; say what went."""
    project_id, confirm = options.project, options.confirm
    if confirm is None and sys.stdin.isatty():
        confirm = input(f"This removes all of {project_id} for good. Repeat its id to go on: ")
    with Console(stderr=True).status(Text(f"Purging {project_id} …")):
        report = on_stores(settings_of(options), lambda stores: stores.purges.purge(project_id, confirm or ""))
    removed = ", ".join(
        f"{getattr(report.removed, name):,} {name.replace('_', ' ')}"
        for name in type(report.removed).__dataclass_fields__
    )
    return say(f"{project_id} is gone: {removed}.")
