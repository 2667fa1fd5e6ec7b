"""Checks that an answer gives a caller no data and no action that their key does not grant."""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote

from tests.fuzz import reading
from tests.fuzz.callers import Caller
from tests.fuzz.seeding import MARK
from tests.fuzz.shapes import ELSEWHERE
from tests.fuzz.wire import Answer, Request

_ERROR: Final = 400
_REDIRECT: Final = 307
"""Status for a path with a trailing slash; the server redirects every caller, whatever their key."""
_ADDRESSED: Final = re.compile(r"/files/([^/?]+/[^/?]+)|/export/.*?[?&]projectId=([^&]*)")
_PROJECT: Final = re.compile(r"(?:[a-z]\d+_)?(?:projectId|project_id)")
_MARK: Final = re.compile(MARK.format(r"([\w/]+)"))
_MUTATION: Final = re.compile(rb'\{"query": "mutation\b')


def problems(caller: Caller, request: Request, answer: Answer) -> list[str]:
    """Return a sentence for each thing that the caller got or did without the right to it."""
    values, _ = reading.values(answer)
    found = of_values(caller, values)
    found += _of_marks(caller, answer.body.decode(errors="replace"))
    if not 0 < answer.status < _ERROR or answer.status == _REDIRECT or request.method == "OPTIONS":
        return found
    if ("Origin", ELSEWHERE) in request.headers:
        found.append(f"a page of {ELSEWHERE} is answered with {answer.status}")
    if not caller.reads:
        return [*found, f"{caller.name} is answered with {answer.status}"]
    if (project := _addressed(request)) is not None:
        may = caller.may_write(project) if request.method == "PUT" else caller.may_read(project)
        found += [] if may else [f"{caller.name} may {request.method} {project}"]
    if (
        not caller.writes
        and _MUTATION.match(request.body)
        and any(_has_data(value) and _has_content(value["data"]) for value in values)
    ):
        found.append(f"{caller.name} writes")
    return found


def of_values(caller: Caller, values: list[Any]) -> list[str]:
    """Return a problem for each project in the values that the caller may not read.

    A caller with no right to read may get no data at all.
    """
    if not caller.reads and any(map(_has_data, values)):
        return [f"{caller.name} is given data"]
    forbidden = {project for value in values for project in _projects(value) if not caller.may_read(project)}
    return [f"{caller.name} is told of {project}" for project in sorted(forbidden)]


def of_text(caller: Caller, text: str) -> list[str]:
    """Check one JSON message of a WebSocket."""
    return of_values(caller, [reading.loads(text)]) + _of_marks(caller, text)


def _of_marks(caller: Caller, text: str) -> list[str]:
    forbidden = {project for project in _MARK.findall(text) if not caller.may_read(project)}
    return [f"{caller.name} is told what only {project} holds" for project in sorted(forbidden)]


def _addressed(request: Request) -> str | None:
    """Return the project that the request's URL names, or None."""
    found = _ADDRESSED.match(request.target)
    if found is None or request.target.count("projectId=") > 1:
        return None
    return unquote(found[1] or found[2])


def _has_data(value: Any) -> bool:
    """Return whether a GraphQL result has a non-null root field."""
    data = value.get("data") if isinstance(value, dict) else None
    return isinstance(data, dict) and any(
        found is not None and not name.startswith("__") for name, found in data.items()
    )


def _has_content(value: Any) -> bool:
    """Return whether JSON contains any data except type names; the answer to an empty batch does not."""
    if isinstance(value, dict):
        return any(_has_content(inner) for name, inner in value.items() if name != "__typename")
    return any(map(_has_content, value)) if isinstance(value, list) else bool(value)


def _projects(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as members:
                waiting += members.values()
                yield from (
                    inner for name, inner in members.items() if isinstance(inner, str) and _PROJECT.fullmatch(name)
                )
            case list() as items:
                waiting += items
            case _:
                pass
