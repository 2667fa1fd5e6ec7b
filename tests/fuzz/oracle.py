"""Checks that hold for every answer, whatever the request."""

import re
from typing import Any, Final
from urllib.parse import unquote

from tests.fuzz import reading
from tests.fuzz.wire import Answer, Request

CODES: Final = {
    "BAD_USER_INPUT", "NOT_FOUND", "OBJECT_DELETED", "CONFLICT", "UNAUTHENTICATED", "FORBIDDEN", "PAYLOAD_TOO_LARGE",
    "QUERY_TOO_COMPLEX", "RATE_LIMITED", "TIMEOUT", "UNAVAILABLE", "PROVIDER_ERROR",
}  # fmt: skip
"""Codes that an error may have; INTERNAL is not among them, because it means an unexpected failure."""

_TELLING: Final = ("reason", "message", "detail", "error")
"""Members that contain the error message in answers of endpoints other than GraphQL."""

_TOLD: Final = {503: "UNAVAILABLE", 504: "TIMEOUT"}
_MALFORMED: Final = b"Invalid HTTP request received."
_NO_BODY: Final = "zero-length, empty document"
_UNREADABLE: Final = {400, 422}
_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503
_ERROR: Final = 400
_INNARDS: Final = re.compile(
    r"""Traceback|File "/|site-packages|\.py\b|\bmongo(?:db|d)?\b|pymongo|"""
    r"""\bmotor\b|\bbson\b|NoneType|<class |object at 0x|"""
    r"""has no attribute|unhashable|not subscriptable|not callable|positional argument|keyword argument|codec can't|"""
    r"""KeyError|ValueError|TypeError|maximum recursion|strawberry|pydantic|starlette|asyncio|uvicorn|orjson|"""
    r"""errmsg|\bE11000\b|WriteError|"""
    r"""\$(?:match|project|group|lookup|facet|unwind|setWindowFields)\b|went wrong on the server""",
    re.IGNORECASE,
)


def problems(request: Request, answer: Answer) -> list[str]:
    """Return the problems of an answer as sentences, or an empty list."""
    if answer.status == 0:
        return [] if request.is_torn or request.reads_for is not None else ["hung up without an answer"]
    if answer.body == _MALFORMED:
        return ["it is told to be no HTTP"] if request.is_well_formed else []
    if request.method == "HEAD":
        return _of_status(answer, set())
    if not answer.is_whole and request.reads_for is None:
        return ["the answer breaks off"]
    values, found = reading.values(answer)
    found += _of_status(answer, {code for value in values for code in codes(value)})
    if _has_results(request, answer):
        found += [problem for value in values for problem in of_result(value)]
    elif request.endpoint == "graphql" and answer.status < _ERROR:
        found.append(f"the answer is {answer.media_type!r}")
    if request.endpoint == "files" and request.method == "PUT" and answer.status < _ERROR:
        found += [problem for value in values for problem in _of_file(request, value)]
    texts = [text for value in values for text in messages(value)]
    if _came_whole(request) and answer.status in _UNREADABLE and any(_NO_BODY in text for text in texts):
        found.append("its body was lost")
    if answer.media_type == "text/plain" and answer.status >= _ERROR:
        texts.append(answer.body.decode(errors="replace"))
    return found + of_messages(texts, f"{unquote(request.target)} {request.body.decode(errors='replace')}")


def _came_whole(request: Request) -> bool:
    """Return whether a request with the JSON content type was sent complete and not encoded."""
    names = {name.lower() for name, _ in request.headers}
    is_json = ("Content-Type", "application/json") in request.headers
    return is_json and bool(request.body.strip()) and not request.is_torn and "content-encoding" not in names


def _of_file(request: Request, stored: Any) -> list[str]:
    size = stored.get("sizeBytes") if isinstance(stored, dict) else None
    return [] if size == len(request.body) else [f"of {len(request.body)} bytes {size} are stored"]


def _has_results(request: Request, answer: Answer) -> bool:
    """Return whether the answer contains GraphQL results."""
    if request.endpoint in {"graphql", "schemathesis"}:
        return answer.media_type in {*reading.JSON, reading.EVENTS}
    return request.endpoint in {"files", "exports"} and answer.status >= _ERROR and answer.media_type in reading.JSON


def _of_status(answer: Answer, codes: set[str]) -> list[str]:
    if answer.status < _SERVER_ERROR:
        return []
    if answer.status in _TOLD and (not codes or _TOLD[answer.status] in codes):
        is_undated = answer.status == _UNAVAILABLE and "retry-after" not in answer.headers
        return ["it does not say when to come again"] if is_undated else []
    return [f"the status is {answer.status}"]


def of_result(result: Any) -> list[str]:
    """Return the problems of a GraphQL result."""
    if not isinstance(result, dict) or not result or set(result) - {"data", "errors", "extensions"}:
        return ["the answer is no GraphQL result"]
    errors = result.get("errors")
    if errors is None:
        return [] if isinstance(result.get("data"), dict) else ["there are neither data nor errors"]
    if not isinstance(errors, list) or not errors:
        return ["the errors are no list of any"]
    return of_errors(errors)


def of_errors(errors: list[Any]) -> list[str]:
    """Return the problems of a result's errors."""
    found = []
    for error in errors:
        if not isinstance(error, dict) or not isinstance(error.get("message"), str) or not error["message"].strip():
            found.append("an error has no message")
        elif (code := (error.get("extensions") or {}).get("code")) not in CODES:
            found.append(f"an error's code is {code!r}: {error['message'][:200]}")
    return found


def of_messages(texts: list[str], sent: str = "") -> list[str]:
    """Return a problem for each message that reveals internals, except for words that the client sent itself."""
    return [
        f"it tells of {found[0]!r}: {text[:300]!r}"
        for text in texts
        if (found := _INNARDS.search(text)) and found[0] not in sent
    ]


def codes(decoded: Any) -> set[str]:
    """Return the codes of an answer's errors."""
    errors = decoded.get("errors") if isinstance(decoded, dict) else None
    return {
        str(error["extensions"].get("code"))
        for error in (errors if isinstance(errors, list) else [])
        if isinstance(error, dict) and isinstance(error.get("extensions"), dict)
    }


def messages(decoded: Any) -> list[str]:
    """Return the error messages of an answer, in the format of any endpoint."""
    if not isinstance(decoded, dict):
        return []
    errors = decoded.get("errors")
    texts = [error.get("message") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    texts += [decoded.get(name) for name in _TELLING]
    partial = decoded.get("partialSuccess")
    texts.append(partial.get("errorMessage") if isinstance(partial, dict) else None)
    return [text for text in texts if isinstance(text, str)]
