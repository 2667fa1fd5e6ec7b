"""Ids of projects, calls and traces: how they are made and which rules they keep."""

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
"""Characters of an id that clients may make up, and more than any other has."""
LOCAL_USER: Final = "local"
"""Who wrote, where no API key says it."""

_Name = TypeVar("_Name")

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PROJECT_PART: Final = re.compile(rf"[^/\\#?%:\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_PROJECT_PART}}}")
_STEPS_OF_PATHS: Final = frozenset({".", ".."})
"""What names a folder that is there already, where a project's id stands in an address."""

_INVISIBLE: Final = frozenset({"Cf", "Zs", "Zl", "Zp"})
"""Unicode's categories of formats and spaces."""

PROJECT_PART_RULE: Final = (
    rf"1 to {MAX_PROJECT_PART} characters without any of / \ # ? % : and control characters, not all of them "
    "invisible, and neither . nor .. alone"
)


def new_id() -> str:
    """A UUIDv7 (RFC 9562): sorts by the time it was made, to the fraction of a millisecond."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def version_id(project_id: str, kind: str, object_id: str, digest: str) -> str:
    """The `_id` of a version of an object or op; none of the four holds a colon."""
    return f"{project_id}:{kind}:{object_id}:{digest}"


def by_project(keys: Iterable[tuple[str, _Name]]) -> list[tuple[str, list[_Name]]]:
    """The ids, refs or other names of each project, out of pairs of a project and one of them."""
    projects: dict[str, list[_Name]] = {}
    for project_id, found in keys:
        projects.setdefault(project_id, []).append(found)
    return list(projects.items())


@functools.lru_cache(1024)  # a batch names one project again and again; what is refused is not kept
def check_project_id(project_id: str, argument: str = "project_id") -> None:
    r"""Hold a project id to `entity/project`.

    Raises:
        BadInputError: there is not exactly one slash, or a part is empty, too long, invisible, a step of a path or
            holds one of `\#?%:`.
    """
    parts = project_id.split("/")
    if len(parts) != 2 or not all(map(is_project_part, parts)):  # noqa: PLR2004 -- entity and project
        raise BadInputError(
            f"{project_id[:64]!r} is not a project id; write entity/project, each of {PROJECT_PART_RULE}", argument
        )


def is_project_part(part: str) -> bool:
    """Whether a text may be either half of a project id."""
    return (
        is_in_project_part(part)
        and part not in _STEPS_OF_PATHS
        and any(unicodedata.category(character) not in _INVISIBLE for character in part)
    )


def is_in_project_part(text: str) -> bool:
    """Whether a half of a project id may begin with a text."""
    return _PROJECT_PART.fullmatch(text) is not None


def check_project_part(part: str, argument: str) -> None:
    """Hold an entity or a project's name to the rule of either half of a project id.

    Raises:
        BadInputError: it is empty, too long, invisible, a step of a path or holds a character that no project id has.
    """
    if not is_project_part(part):
        raise BadInputError(f"{part[:64]!r} cannot be half of a project id; use {PROJECT_PART_RULE}", argument)


@functools.lru_cache(1024)  # a program sends one run's id with each call; an invalid one is not kept
def check_run_id(run_id: str, argument: str) -> None:
    """Hold the id of a W&B run to `entity/project/run`.

    Raises:
        BadInputError: there are not exactly two slashes, or a part breaks the rule of halves of project ids.
    """
    parts = run_id.split("/")
    if len(parts) != 3 or not all(map(is_project_part, parts)):  # noqa: PLR2004 -- entity, project and run
        raise BadInputError(
            f"{run_id[:64]!r} is not the id of a run; write entity/project/run, each of {PROJECT_PART_RULE}", argument
        )


def check_call_id(call_id: str, argument: str) -> None:
    """Hold a call id to a lowercase UUID or any 16 characters without uppercase (a span id).

    Raises:
        BadInputError: it is neither.
    """
    _check(call_id, SPAN_ID_LENGTH, "call", argument)


def check_trace_id(trace_id: str, argument: str) -> None:
    """Hold a trace id to a lowercase UUID or any 32 characters without uppercase.

    Raises:
        BadInputError: it is neither.
    """
    _check(trace_id, TRACE_ID_LENGTH, "trace", argument)


def is_call_id(text: str) -> bool:
    """Whether a text keeps the rule of call ids."""
    return _is_id(text, SPAN_ID_LENGTH)


def _is_id(text: str, length: int) -> bool:
    return _UUID.fullmatch(text) is not None or (len(text) == length and text == text.lower())


def _check(text: str, length: int, kind: str, argument: str) -> None:
    if _is_id(text, length):
        return
    raise BadInputError(
        f"{text[:64]!r} is not a {kind} id; use a lowercase UUID or {length} lowercase characters", argument
    )
