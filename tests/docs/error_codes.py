"""The table of `reference/error-codes.md`: meaning, statuses and retry advice of each error code."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from google.rpc.code_pb2 import Code

from app.graphql_http.trusted_documents import UnknownDocumentError
from app.http.errors import statuses_of
from graphql_schema.errors import TOO_COMPLEX
from stores.errors import StoreError

INTERNAL: Final = StoreError.code


class _Code(NamedTuple):
    """Meaning, statuses and retry advice of a code, and the endpoints besides `/graphql` that send it."""

    meaning: str
    retry: str
    on_weave: bool = True
    on_others: bool = True


_AS_IT_IS: Final = "yes, unchanged; after `retryAfterSeconds` if present"
CODES: Final = {
    "BAD_USER_INPUT": _Code("The request breaks a rule: syntax, a type, or a value. `argument` names the value.", "no"),
    "UNAUTHENTICATED": _Code("The credentials are missing or invalid.", "no"),
    "FORBIDDEN": _Code("The caller lacks a role in the project, or a setting forbids the request.", "no"),
    "NOT_FOUND": _Code("The named entity does not exist.", "no"),
    "OBJECT_DELETED": _Code("The object version was deleted; `deletedAt` has the time.", "no", on_others=False),
    UnknownDocumentError.code: _Code(
        "The server has no trusted document with this hash.", "no", on_weave=False, on_others=False
    ),
    "CONFLICT": _Code("Another writer changed the same data first, or the id belongs to another entity.", "yes"),
    "PAYLOAD_TOO_LARGE": _Code("An input is too large. The server stored nothing.", "no"),
    TOO_COMPLEX: _Code("The operation exceeds a limit on depth, size or cost.", "no", on_weave=False, on_others=False),
    "RATE_LIMITED": _Code(
        "A caller, a connection or a process exceeds a limit. The message names the setting.",
        "after `retryAfterSeconds` if present; otherwise after the caller ends some of its own requests",
    ),
    "PROVIDER_ERROR": _Code(
        "A model provider failed or refused the request.", "depends on the message", on_weave=False, on_others=False
    ),
    "TIMEOUT": _Code("The request or a command of MongoDB took too long. A write may be stored.", _AS_IT_IS),
    "UNAVAILABLE": _Code(
        "The database is unreachable, or the server is busy or stopping. A write may be stored.", _AS_IT_IS
    ),
    INTERNAL: _Code("The server failed. `id` finds the details in its log.", "maybe"),
}
"""All error codes, from errors of the client to errors of the server."""


def error_codes() -> str:
    """Return the table of error codes."""
    head = ["Code", "Meaning", "GraphQL", "Files, exports", "Weave SDK", "OTLP/HTTP", "OTLP/gRPC", "Retry"]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *_rows()))


def _rows() -> Iterator[list[str]]:
    for code, meaning in CODES.items():
        on_graphql, plain, weave, otlp, grpc = statuses_of(code)
        others = [
            str(status) if is_shown else ""
            for status, is_shown in ((plain, meaning.on_others), (weave, meaning.on_weave), (otlp, meaning.on_others))
        ]
        grpc_name = Code.Name(grpc) if meaning.on_others else ""
        yield [f"`{code}`", meaning.meaning, str(on_graphql), *others, grpc_name, meaning.retry]
