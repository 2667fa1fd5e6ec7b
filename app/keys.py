"""`loomql key`: who may come in, for the operator, beside a server or not."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from rich.console import Console
from rich.text import Text

from app.access.entrance import demand_of
from app.audit import log_as_command_line
from app.durations import end_of, seconds_of
from app.mongodb import shared_mongodb
from app.settings import Settings
from stores import times, versions
from stores.access import Caller, Grant, Role
from stores.database import Database
from stores.keys import Key, KeysStore, MadeKey

_R = TypeVar("_R")

OPERATOR: Final = Caller("command", (Grant("*", Role.ADMIN),))
"""Whoever runs commands on the server, who reads the whole database anyhow."""

FIRST_KEY: Final = "loomql key create --project '*' --role admin"


def create(
    settings: Settings, projects: Sequence[str], role: str, name: str | None, expires: str | None
) -> tuple[str, list[str]]:
    """Make a key; its text, and what there is to tell of it."""
    grants = [Grant.of(each, Role.of(role)) for each in projects]
    expires_at = None if expires is None else end_of(expires, "expires")

    async def work(keys: KeysStore) -> tuple[MadeKey, bool]:
        is_first = not await keys.mark()
        return await keys.create(grants, name, expires_at, OPERATOR.id), is_first

    made, is_first = _on_keys(settings, "Making a key …", work)
    return made.text, _told(settings, made, is_first=is_first)


def rotate(settings: Settings, key_id: str, grace: str | None, expires: str | None) -> tuple[str, list[str]]:
    """Make a key in the place of another; its text, and what there is to tell of both."""
    seconds = 0 if grace is None else seconds_of(grace, "grace")
    expires_at = None if expires is None else end_of(expires, "expires")
    made = _on_keys(settings, "Making a key …", lambda keys: keys.rotate(key_id, OPERATOR, seconds, expires_at))
    until = f"lets its owner in for another {grace}" if seconds else "lets nobody in any more"
    return made.text, [*_told(settings, made), f"The key {key_id}, in whose place it is, {until}."]


def revoke(settings: Settings, key_id: str) -> list[str]:
    """End a key."""
    key = _on_keys(settings, "Revoking …", lambda keys: keys.revoke(key_id, OPERATOR))
    return [f"The key {key.id} lets nobody in any more, in any process of any server."]


def lines(settings: Settings) -> list[str]:
    """The keys, for people: a line for each, and never what lets somebody in."""
    now = times.now()
    found = _on_keys(settings, "Reading …", lambda keys: keys.all(OPERATOR))
    return [_line(key, now) for key in found] or [f"There is no key yet; make one with `{FIRST_KEY}`."]


def has_keys(settings: Settings, uri: str) -> bool:
    """Whether there is a key that lets somebody in."""

    async def work(keys: KeysStore) -> bool:
        known = await keys.known(await keys.mark())
        return any(key.is_live(times.now()) for key in known.by_id.values())

    return _run(settings, uri, work)


def _line(key: Key, now: int) -> str:
    state = "revoked" if key.revoked_at is not None else "live" if key.is_live(now) else "expired"
    end = key.revoked_at or key.expires_at
    until = f"until {_day(end)}" if end is not None else "without end"
    name = f"  {key.name}" if key.name else ""
    return f"{key.id}  {state:<7}  {_day(key.created_at)} {until}  {_grants(key)}{name}"


def _grants(key: Key) -> str:
    return ", ".join(f"{grant.role} of {grant.projects}" for grant in key.grants)


def _day(micros: int) -> str:
    return f"{times.to_text(micros)[:19]}Z"


def _told(settings: Settings, made: MadeKey, *, is_first: bool = False) -> list[str]:
    key = made.key
    end = "does not end by itself" if key.expires_at is None else f"ends at {_day(key.expires_at)}"
    told = [f"The key {key.id} is {_grants(key)}, and {end}. It is shown this once: keep it where secrets are kept."]
    if is_first and demand_of(settings.keys, settings.host) != "off":
        told.append("It is the first: from now on every request needs a key, on the loopback, too.")
    return told


def _on_keys(settings: Settings, doing: str, work: Callable[[KeysStore], Awaitable[_R]]) -> _R:
    log_as_command_line(settings.audit_log)
    with Console(stderr=True).status(Text(doing)), shared_mongodb(settings) as uri:
        return _run(settings, uri, work)


def _run(settings: Settings, uri: str, work: Callable[[KeysStore], Awaitable[_R]]) -> _R:
    async def run() -> _R:
        database = Database.open(uri, settings.mongodb_database, settings.database_timeout_seconds)
        try:
            await versions.require(database)
            return await work(KeysStore(database))
        finally:
            database.close()

    return asyncio.run(run())


def say(text: str, told: Sequence[str]) -> None:
    """Print a key where a script reads it, and what there is to tell beside that."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    sys.stderr.write("".join(f"{line}\n" for line in told))
