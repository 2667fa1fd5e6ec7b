"""`loomql key`: who may come in, for the operator, beside a server or not."""

import asyncio
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from app.auth.authenticator import key_policy_for
from app.auth.credentials import FIRST_KEY
from app.commands.database_access import on_database, opened
from app.commands.durations import end_of, seconds_of
from app.commands.options import Add, actions_of, data_folder, say, settings_of
from app.observability.audit_log import log_as_command_line
from app.settings import Settings
from stores import times
from stores.evaluations.running.run_queue import cancel_ordered_by
from stores.keys import Key, KeysStore, MadeKey
from stores.security.access import Grant, Role

_R = TypeVar("_R")


def add_key(add: Add) -> None:
    """`key` and its actions."""
    action = actions_of(add("key", help="manage API keys"))
    which, until = ArgumentParser(add_help=False), ArgumentParser(add_help=False)
    which.add_argument("id", metavar="ID", help="public id of the key: the part after loomql_")
    until.add_argument("--expires", metavar="WHEN", help="expiry: a duration such as 90d, or an ISO 8601 time")
    making = action(
        "create", parents=[until, data_folder()], help="create a key and print it; LoomQL cannot print it again"
    )
    making.add_argument(
        "--project",
        metavar="PROJECT",
        required=True,
        action="append",
        help="entity/project, entity/* or * for all; repeat for several",
    )
    making.add_argument("--role", required=True, choices=[str(role) for role in Role if role], help="role of the key")
    making.add_argument("--name", help="name of the key")
    making.set_defaults(command=create)
    rotating = action("rotate", parents=[which, until, data_folder()], help="create a key that replaces another one")
    rotating.add_argument("--grace", metavar="SPAN", help="time that the old key stays valid, such as 1d")
    rotating.set_defaults(command=rotate)
    revoking = action("revoke", parents=[which, data_folder()], help="revoke a key")
    revoking.set_defaults(command=revoke)
    listing = action("list", parents=[data_folder()], help="list the keys without their secrets")
    listing.set_defaults(command=list_keys)


def create(options: Namespace) -> int:
    """Make a key, and print it where a script reads it."""
    settings = settings_of(options)
    grants = [Grant.parse(each, Role.parse(options.role)) for each in options.project]
    expires_at = None if options.expires is None else end_of(options.expires, "expires")

    async def work(keys: KeysStore) -> tuple[MadeKey, bool]:
        is_first = not await keys.change_number()
        return await keys.create(grants, options.name, expires_at), is_first

    made, is_first = _on_keys(settings, "Making a key …", work)
    return _show(made, _told(settings, made, is_first=is_first))


def rotate(options: Namespace) -> int:
    """Make a key in the place of another."""
    settings, grace = settings_of(options), options.grace
    seconds = 0 if grace is None else seconds_of(grace, "grace")
    expires_at = None if options.expires is None else end_of(options.expires, "expires")
    made = _on_keys(settings, "Making a key …", lambda keys: keys.rotate(options.id, seconds, expires_at))
    until = f"lets its owner in for another {grace}" if seconds else "lets nobody in any more"
    return _show(made, [*_told(settings, made), f"The key {options.id}, in whose place it is, {until}."])


def revoke(options: Namespace) -> int:
    """End a key, and what the server does on its behalf."""

    async def work(keys: KeysStore) -> tuple[Key, int]:
        key, database = await keys.revoke(options.id), keys.database
        why = f"the revocation of the key {key.id}, which ordered it"
        return key, await database.run(cancel_ordered_by(database.evaluation_runs, key.id, why))

    key, canceled = _on_keys(settings_of(options), "Revoking …", work)
    told = [f"The key {key.id} lets nobody in any more, in any process of any server."]
    if canceled:
        told.append(f"Runs of evaluations that it ordered, and that are canceled: {canceled:,}.")
    return say(*told)


def list_keys(options: Namespace) -> int:
    """Print a line for each key, and never what lets somebody in."""
    settings, now = settings_of(options), times.now()
    found = _on_keys(settings, "Reading …", lambda keys: keys.all())
    return say(*[_line(key, now) for key in found] or [f"There is no key yet; make one with `{first_key(settings)}`."])


def first_key(settings: Settings) -> str:
    """The command that makes a first key where the settings look for it."""
    has_folder = settings.mongodb_uri is None and "data_dir" in settings.model_fields_set
    return f"{FIRST_KEY} --data-dir {shlex.quote(str(settings.data_dir))}" if has_folder else FIRST_KEY


def has_keys(settings: Settings, uri: str) -> bool:
    """Whether there is a key that lets somebody in."""

    async def look() -> bool:
        async with opened(settings, uri) as database:
            keys = KeysStore(database)
            known = await keys.live_keys(await keys.change_number())
        return any(key.is_live(times.now()) for key in known.by_id.values())

    return asyncio.run(look())


def _line(key: Key, now: int) -> str:
    state = "live" if key.is_live(now) else "expired" if key.revoked_at is None else "revoked"
    until = "without end" if key.ends_at is None else f"until {_moment(key.ends_at)}"
    name = f"  {key.name}" if key.name else ""
    return f"{key.id}  {state:<7}  {_moment(key.created_at)} {until}  {_grants(key)}{name}"


def _grants(key: Key) -> str:
    return ", ".join(f"{grant.role} of {grant.projects}" for grant in key.grants)


def _moment(micros: int) -> str:
    return f"{times.to_text(micros)[:19]}Z"


def _told(settings: Settings, made: MadeKey, *, is_first: bool = False) -> list[str]:
    key = made.key
    end = "does not end by itself" if key.expires_at is None else f"ends at {_moment(key.expires_at)}"
    told = [f"The key {key.id} is {_grants(key)}, and {end}. It is shown this once: keep it where secrets are kept."]
    if is_first and key_policy_for(settings.keys, settings.host) != "off":
        told.append("It is the first: from now on every request needs a key, on the loopback, too.")
    return told


def _on_keys(settings: Settings, doing: str, work: Callable[[KeysStore], Awaitable[_R]]) -> _R:
    log_as_command_line(settings.audit_log)
    with Console(stderr=True).status(Text(doing)):
        return on_database(settings, lambda database: work(KeysStore(database)))


def _show(made: MadeKey, told: Sequence[str]) -> int:
    """Print a key where a script reads it, and what there is to tell beside that."""
    say(made.text)
    sys.stdout.flush()
    sys.stderr.write("".join(f"{line}\n" for line in told))
    return 0
