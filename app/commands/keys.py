"""`loomql key`: API keys, managed also while a server runs."""

import re
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from rich.console import Console
from rich.text import Text

from app.auth.sessions import FIRST_KEY, key_policy_for
from app.commands.common import Add, actions_of, data_folder, on_database, on_database_at, say, settings_of
from app.observability.logs import command_line_audit
from app.settings import Settings
from stores import times
from stores.database import Database
from stores.errors import BadInputError
from stores.evaluations.running.store import cancel_ordered_by
from stores.keys import Key, KeysStore, MadeKey
from stores.security.access import Grant, Role

_R = TypeVar("_R")


def add_commands(add: Add) -> None:
    """Add `key` and its actions."""
    action = actions_of(add, "key", "manage API keys")
    which, until = ArgumentParser(add_help=False), ArgumentParser(add_help=False)
    which.add_argument("id", metavar="ID", help="public id of the key: the part after loomql_")
    until.add_argument("--expires", metavar="WHEN", help="expiry: a duration such as 90d, or an ISO 8601 time")
    made = "create a key and print it; LoomQL cannot print it again"
    making = action("create", create, parents=[until, data_folder()], help=made)
    making.add_argument(
        "--project",
        metavar="PROJECT",
        required=True,
        action="append",
        help="entity/project, entity/* or * for all; repeat for several",
    )
    making.add_argument("--role", required=True, choices=[str(role) for role in Role if role], help="role of the key")
    making.add_argument("--name", help="name of the key")
    replaced = "create a key that replaces another one"
    rotating = action("rotate", rotate, parents=[which, until, data_folder()], help=replaced)
    rotating.add_argument("--grace", metavar="SPAN", help="time that the old key stays valid, such as 1d")
    action("revoke", revoke, parents=[which, data_folder()], help="revoke a key")
    action("list", list_keys, parents=[data_folder()], help="list the keys without their secrets")


def create(options: Namespace) -> int:
    """Create a key and print it to stdout."""
    settings = settings_of(options)
    grants = [Grant.parse(each, Role.parse(options.role)) for each in options.project]
    expires_at = None if options.expires is None else end_of(options.expires)

    async def operation(keys: KeysStore) -> tuple[MadeKey, bool]:
        is_first = not await keys.change_number()
        return await keys.create(grants, options.name, expires_at), is_first

    made, is_first = _on_keys(settings, "Creating a key …", operation)
    return _show(made, _explanations(settings, made, is_first=is_first))


def rotate(options: Namespace) -> int:
    """Create a key that replaces another one."""
    settings, grace = settings_of(options), options.grace
    seconds = 0 if grace is None else seconds_of(grace, "grace")
    expires_at = None if options.expires is None else end_of(options.expires)
    made = _on_keys(settings, "Creating a key …", lambda keys: keys.rotate(options.id, seconds, expires_at))
    until = f"stays valid for another {grace}" if seconds else "is no longer valid"
    return _show(made, [*_explanations(settings, made), f"It replaces the key {options.id}, which {until}."])


def revoke(options: Namespace) -> int:
    """Revoke a key and cancel the evaluation runs that it started."""

    async def operation(keys: KeysStore) -> tuple[Key, int]:
        key, database = await keys.revoke(options.id), keys.database
        why = f"the revocation of the key {key.id}, which started it"
        return key, await database.run(cancel_ordered_by(database.evaluation_runs, key.id, why))

    key, canceled = _on_keys(settings_of(options), "Revoking …", operation)
    lines = [f"The key {key.id} is revoked in all server processes."]
    if canceled:
        lines.append(f"Evaluation runs that it started and that are now canceled: {canceled:,}.")
    return say(*lines)


def list_keys(options: Namespace) -> int:
    """Print each key on a line, without its secret."""
    settings, now = settings_of(options), times.now()
    keys = _on_keys(settings, "Reading …", lambda keys: keys.all())
    return say(*[_line(key, now) for key in keys] or [f"No key exists; create one with `{first_key(settings)}`."])


def first_key(settings: Settings) -> str:
    """Return the command that creates a first key for these settings."""
    has_folder = settings.mongodb_uri is None and "data_dir" in settings.model_fields_set
    return f"{FIRST_KEY} --data-dir {shlex.quote(str(settings.data_dir))}" if has_folder else FIRST_KEY


def has_keys(settings: Settings, uri: str) -> bool:
    """Return True if a live key exists."""

    async def read(database: Database) -> bool:
        keys = KeysStore(database)
        known = await keys.live_keys(await keys.change_number())
        return any(key.is_live(times.now()) for key in known.by_id.values())

    return on_database_at(uri, settings, read)


def _line(key: Key, now: int) -> str:
    state = "live" if key.is_live(now) else "expired" if key.revoked_at is None else "revoked"
    until = "no expiry" if key.ends_at is None else f"until {_time_text(key.ends_at)}"
    name = f"  {key.name}" if key.name else ""
    return f"{key.id}  {state:<7}  {_time_text(key.created_at)} {until}  {_grants(key)}{name}"


def _grants(key: Key) -> str:
    return ", ".join(f"{grant.role} of {grant.projects}" for grant in key.grants)


def _time_text(micros: int) -> str:
    return f"{times.to_text(micros)[:19]}Z"


def _explanations(settings: Settings, made: MadeKey, *, is_first: bool = False) -> list[str]:
    key = made.key
    end = "does not expire" if key.expires_at is None else f"expires at {_time_text(key.expires_at)}"
    lines = [f"The key {key.id} is {_grants(key)}, and {end}. It is shown only once: store it as a secret."]
    if is_first and key_policy_for(settings.keys, settings.host) != "off":
        lines.append("It is the first key: from now on every request needs a key, also on the loopback.")
    return lines


def _on_keys(settings: Settings, activity: str, operation: Callable[[KeysStore], Awaitable[_R]]) -> _R:
    with command_line_audit(settings.audit_log), Console(stderr=True).status(Text(activity)):
        return on_database(settings, lambda database: operation(KeysStore(database)))


def _show(made: MadeKey, lines: Sequence[str]) -> int:
    """Print the key to stdout, where a script reads it, and the explanations to stderr."""
    say(made.text)
    sys.stdout.flush()
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return 0


_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhdw])", re.ASCII)


def seconds_of(text: str, argument: str) -> int:
    """Return the seconds of a duration such as `90d`, `12h`, `30m` or `45s`.

    Raises:
        BadInputError: the text is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if not match:
        raise BadInputError(
            f"{text[:64]!r} is not a duration; write a number and s, m, h, d or w, such as 90d", argument
        )
    return int(match[1]) * _UNITS[match[2]]


def end_of(text: str) -> int:
    """Return a future time in microseconds since the epoch, from a duration such as `90d` or a time in ISO 8601.

    Raises:
        BadInputError: the text is neither.
    """
    if _DURATION.fullmatch(text):
        return times.now() + seconds_of(text, "expires") * times.SECOND
    try:
        return times.parse(text)
    except BadInputError as error:
        message = f"{text[:64]!r} is neither a duration such as 90d nor a time such as 2030-01-31T12:00:00Z"
        raise BadInputError(message, "expires") from error
