"""The audit log: who removed what for good or from sight, changed what is kept, or changed who may come in; and when.

Each entry is one line of JSON on the logger `loomql.audit`:

    time       ISO 8601, in UTC
    action     what was done, such as `calls.delete`, `calls.deleted`, `retention.set`, `key.create`
    caller     the public id of a key, the subject of a token, `anonymous`, `command line` or `server`
    project    entity/project, or null for what is of none
    detail     what exactly and how many; never a secret, nor anything that was stored

It is told to whoever keeps logs, and not to the database: what is kept there could be removed by those whom it is
about, and would be lost together with what was removed.
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
"""The caller of what a server does by itself, such as the sweeps of retention."""

NAMED_AT_MOST: Final = 100
"""Ids that one entry lists; of more it says how many there were."""

logger: Final = logging.getLogger("loomql.audit")
# Whatever level the rest of the program is at.
logger.setLevel(logging.INFO)


CALLER: Final[ContextVar[str]] = ContextVar("caller", default=SERVER)
"""On whose behalf something is done; each request has a context of its own."""


def known_caller() -> str | None:
    """On whose behalf it is, if that is somebody who had to say who they are."""
    caller = CALLER.get()
    return None if caller in {ANONYMOUS, COMMAND_LINE, SERVER} else caller


def record_action(action: str, project: str | None, **detail: object) -> None:
    """Write down what was done on behalf of whoever this context is of."""
    record(action, CALLER.get(), project, detail)


@contextmanager
def record_removal(action: str, project: str | None, *, done: str, **detail: object) -> Iterator[dict[str, object]]:
    """Write down what is about to be removed, and once it is, the same as done, with what came of it, to be filled in.

    Where only the first is found, a part may be gone, or all: it failed on the way, its answer was lost, or the process
    ended.
    """
    record_action(action, project, **detail)
    outcome: dict[str, object] = {}
    yield outcome
    record_action(done, project, **detail, **outcome)


def record(action: str, caller: str, project: str | None, detail: dict[str, object]) -> None:
    """Write down what was done, or is about to be, on behalf of somebody."""
    entry = {
        "time": times.to_text(times.now()),
        "action": action,
        "caller": caller,
        "project": project,
        "detail": {name: _bounded(value) for name, value in detail.items()},
    }
    # In ASCII: some letters end a line to those who read one, and half a pair of surrogates is written by nobody.
    logger.info(json.dumps(entry, default=str))


def _bounded(value: object) -> object:
    if isinstance(value, list | tuple | set) and len(value) > NAMED_AT_MOST:
        return [*list(value)[:NAMED_AT_MOST], f"and {len(value) - NAMED_AT_MOST:,} more"]
    return sorted(value) if isinstance(value, set) else value
