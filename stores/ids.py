"""Ids of projects, runs, calls and traces: creation and validation."""

import functools
import re
import secrets
import time
import unicodedata
import uuid
from collections.abc import Iterable
from typing import Final, TypeVar

from stores.errors import BadInputError

SPAN_ID_LENGTH: Final = 16
TRACE_ID_LENGTH: Final = 32
MAX_PROJECT_PART: Final = 128
MAX_ID: Final = 128
"""Maximum characters of a client-chosen id; no other id is longer."""
LOCAL_USER: Final = "local"
"""The user recorded for writes without an API key."""

_Name = TypeVar("_Name")

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PROJECT_PART: Final = re.compile(rf"[^/\\#?%:\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_PROJECT_PART}}}")
_PATH_STEPS: Final = frozenset({".", ".."})
"""Path steps that URL parsers remove, so they cannot be half of a project id."""

_INVISIBLE: Final = frozenset({"Cf", "Zs", "Zl", "Zp"})
"""Unicode categories of format characters and spaces."""

PROJECT_PART_RULE: Final = (
    rf"1 to {MAX_PROJECT_PART} characters without / \ # ? % : and control characters, not all of them "
    "invisible, and neither . nor .. alone"
)


def new_id() -> str:
    """Create a UUIDv7 (RFC 9562), which sorts by creation time to a fraction of a millisecond."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def version_id(project_id: str, kind: str, object_id: str, digest: str) -> str:
    """Build the `_id` of an object or op version; none of the four parts contains a colon."""
    return f"{project_id}:{kind}:{object_id}:{digest}"


def group_by_project(keys: Iterable[tuple[str, _Name]]) -> list[tuple[str, list[_Name]]]:
    """Group pairs of a project id and a name (an id or ref) by project, in order of first appearance."""
    projects: dict[str, list[_Name]] = {}
    for project_id, name in keys:
        projects.setdefault(project_id, []).append(name)
    return list(projects.items())


@functools.lru_cache(1024)  # a batch repeats one project id; lru_cache does not keep errors
def check_project_id(project_id: str, argument: str = "project_id") -> None:
    r"""Validate a project id of the form `entity/project`.

    Raises:
        BadInputError: if there is not exactly one slash, or a half is empty, too long, invisible, `.` or `..`, or
            contains one of `\#?%:` or a control character.
    """
    parts = project_id.split("/")
    if len(parts) != 2 or not all(map(is_project_part, parts)):  # noqa: PLR2004 -- entity and project
        raise BadInputError(
            f"{project_id[:64]!r} is not a project id; write entity/project, each of {PROJECT_PART_RULE}", argument
        )


def is_project_part(part: str) -> bool:
    """True if the text is valid as either half of a project id."""
    return (
        can_start_project_part(part)
        and part not in _PATH_STEPS
        and any(unicodedata.category(character) not in _INVISIBLE for character in part)
    )


def can_start_project_part(text: str) -> bool:
    """True if half of a project id may start with the text."""
    return _PROJECT_PART.fullmatch(text) is not None


def check_project_part(part: str, argument: str) -> None:
    """Validate an entity or project name as half of a project id.

    Raises:
        BadInputError: if it is empty, too long, invisible, `.` or `..`, or contains a forbidden character.
    """
    if not is_project_part(part):
        raise BadInputError(f"{part[:64]!r} is not valid as half of a project id; use {PROJECT_PART_RULE}", argument)


@functools.lru_cache(1024)  # a program sends one run id with each call; lru_cache does not keep errors
def check_run_id(run_id: str, argument: str) -> None:
    """Validate a W&B run id of the form `entity/project/run`.

    Raises:
        BadInputError: if there are not exactly two slashes, or a part is invalid as half of a project id.
    """
    parts = run_id.split("/")
    if len(parts) != 3 or not all(map(is_project_part, parts)):  # noqa: PLR2004 -- entity, project and run
        raise BadInputError(
            f"{run_id[:64]!r} is not a run id; write entity/project/run, each of {PROJECT_PART_RULE}", argument
        )


def check_call_id(call_id: str, argument: str) -> None:
    """Validate a call id: a lowercase UUID, or any 16 characters without uppercase (a span id).

    Raises:
        BadInputError: if it is neither.
    """
    _check(call_id, SPAN_ID_LENGTH, "call", argument)


def check_trace_id(trace_id: str, argument: str) -> None:
    """Validate a trace id: a lowercase UUID, or any 32 characters without uppercase.

    Raises:
        BadInputError: if it is neither.
    """
    _check(trace_id, TRACE_ID_LENGTH, "trace", argument)


def is_call_id(text: str) -> bool:
    """True if the text is a valid call id."""
    return _is_id(text, SPAN_ID_LENGTH)


def _is_id(text: str, length: int) -> bool:
    return _UUID.fullmatch(text) is not None or (len(text) == length and text == text.lower())


def _check(text: str, length: int, kind: str, argument: str) -> None:
    if _is_id(text, length):
        return
    raise BadInputError(
        f"{text[:64]!r} is not a {kind} id; use a lowercase UUID or {length} lowercase characters", argument
    )
