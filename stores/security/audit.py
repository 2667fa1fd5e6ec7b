"""The audit log: deletions, purges, and changes of retention rules and keys, with caller and time.

Each entry is one line of JSON on the logger `loomql.audit`:

  time       ISO 8601, in UTC
  action     what was done, such as `calls.delete`, `calls.deleted`, `retention.set`, `key.create`
  caller     the public id of a key, the subject of a token, `anonymous`, `command line` or `server`
  project    entity/project, or null if the action concerns no project
  detail     objects and counts; never a secret, nor any stored content

Entries go to the log and not to the database: there, the audited users could delete them, and a lost database would
lose them.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from stores import times
from stores.security.access import ANONYMOUS

COMMAND_LINE: Final = "command line"
SERVER: Final = "server"
"""Caller of the server's own actions, such as retention sweeps."""

MAX_LISTED_IDS: Final = 100
"""Maximum ids listed in one entry; further ones are counted."""

logger: Final = logging.getLogger("loomql.audit")
# Independent of the program's log level.
logger.setLevel(logging.INFO)


CALLER: Final[ContextVar[str]] = ContextVar("caller", default=SERVER)
"""The caller of the current context; each request has its own context."""


def known_caller() -> str | None:
    """Return the current caller if it is authenticated; None otherwise."""
    caller = CALLER.get()
    return None if caller in {ANONYMOUS, COMMAND_LINE, SERVER} else caller


def record_action(action: str, project: str | None, **detail: object) -> None:
    """Log an action of the current caller."""
    record(action, CALLER.get(), project, detail)


@contextmanager
def record_removal(action: str, project: str | None, *, done: str, **detail: object) -> Iterator[dict[str, object]]:
    """Context manager: log `action` before a removal and `done` after it, with the outcome that the block fills in.

    If only the first entry exists, the removal failed, its response was lost, or the process died; data may be gone.
    """
    record_action(action, project, **detail)
    outcome: dict[str, object] = {}
    yield outcome
    record_action(done, project, **detail, **outcome)


def record(action: str, caller: str, project: str | None, detail: dict[str, object]) -> None:
    """Log an action of `caller`, done or about to be done."""
    entry = {
        "time": times.to_text(times.now()),
        "action": action,
        "caller": caller,
        "project": project,
        "detail": {name: _bounded(value) for name, value in detail.items()},
    }
    # ASCII only: some letters end a line for log readers, and lone surrogates cannot be encoded.
    logger.info(json.dumps(entry, default=str))


def _bounded(value: object) -> object:
    if isinstance(value, list | tuple | set) and len(value) > MAX_LISTED_IDS:
        return [*list(value)[:MAX_LISTED_IDS], f"and {len(value) - MAX_LISTED_IDS:,} more"]
    return sorted(value) if isinstance(value, set) else value
