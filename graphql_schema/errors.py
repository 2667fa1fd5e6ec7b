"""Errors for clients: a code, the argument and a remedy, without stack traces or driver messages."""

import logging
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.utils.str_converters import to_camel_case

from stores.errors import StoreError, clear_tracebacks, retry_after
from stores.ids import new_id

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Id of the current request; "" outside of requests, and for requests without an id."""


_USERS_OWN = (GraphQLError, CannotGetOperationTypeError, InvalidOperationTypeError, MissingQueryError)
"""Errors of the document: syntax, validation, coercion of variables."""

TOO_COMPLEX: Final = "QUERY_TOO_COMPLEX"
"""Code of the errors of all limits on documents, variables and costs."""

RETRY_AFTER: Final = "retryAfterSeconds"
"""Extension with the number of seconds after which a client may retry."""

_log = logging.getLogger("loomql")


def assign_codes(errors: Iterable[GraphQLError]) -> None:
    """Set `extensions.code` of each error in place; log unexpected errors under an id, and mask them."""
    for error in errors:
        if "code" not in (error.extensions or {}):
            _explain(error)
        clear_tracebacks(error)
        clear_tracebacks(error.original_error)


def _explain(error: GraphQLError) -> None:
    cause = error.original_error
    if cause is None or isinstance(cause, _USERS_OWN):
        error.extensions = {**(error.extensions or {}), "code": "BAD_USER_INPUT"}
        return
    if not isinstance(cause, StoreError):
        masked = masked_error(cause, f"at {error.path}")
        error.message, error.extensions = masked.message, masked.extensions
        return
    error.extensions = {"code": cause.code}
    error.extensions |= {to_camel_case(name): detail for name, detail in cause.details.items()}
    if (seconds := retry_after(cause)) is not None:
        error.extensions[RETRY_AFTER] = seconds
    if cause.argument is not None:
        argument = camel_path(cause.argument)
        error.extensions["argument"] = argument
        error.message = f"{argument}: {cause.message}"


def client_error(cause: StoreError) -> GraphQLError:
    """Convert a store's error that occurred outside of a field."""
    error = GraphQLError(cause.message, original_error=cause)
    assign_codes([error])
    return error


def masked_error(cause: Exception, where: str) -> GraphQLError:
    """Return an INTERNAL error with an id, under which the log contains the exception."""
    error_id, request_id = new_id(), REQUEST_ID.get()
    _log.error("unexpected error %s %s", error_id, where, exc_info=cause)
    message = f"Something went wrong on the server; its log has the details under {error_id}."
    of_request = {"requestId": request_id} if request_id else {}
    return GraphQLError(message, extensions={"code": "INTERNAL", "id": error_id, **of_request})


def camel_path(argument: str) -> str:
    """Convert a dotted path of arguments to camelCase: `batch.3.start.trace_id` becomes `batch.3.start.traceId`.

    JSON keys below `$` are not converted. `$` itself is dropped where it only marks the start of JSON
    (`obj.val.$.field_schema`), and kept where it is part of a key.
    """
    arguments, sigil, json = argument.partition(".$")
    sigil = "" if json.startswith(".") else sigil
    return ".".join(to_camel_case(step) for step in arguments.split(".")) + sigil + json
