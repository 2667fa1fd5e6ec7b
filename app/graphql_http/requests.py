"""What a request over HTTP asks for: its body or the query of its URL, read and checked."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from starlette.requests import Request

from app.graphql_http.errors import STATUS_BY_CODE, TOO_LARGE, RequestError, retry_later_error
from app.graphql_http.trusted_documents import TrustedDocuments, trusted_text
from app.http.media_types import JSON, media_type_of
from app.http.request_body import BodyReader, refusal_by
from graphql_schema.engine.operations import LimitedSchema
from stores.concurrency.request_budget import Reservation
from stores.errors import BadInputError, PayloadTooLargeError, RateLimitedError, StoreError, UnavailableError


class Operation(NamedTuple):
    """What a client asks to run."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None


class GraphQLRequest(Request):
    """A request whose headers are a dictionary, by names in small letters; in a list each look goes through all."""

    @cached_property
    def headers(self) -> dict[str, str]:  # type: ignore[override] # which has what is asked for here
        """The headers; of several of a name the first."""
        given = reversed(self.scope["headers"])
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in given}


async def body_parameters(
    request: Request, schema: LimitedSchema, share: Reservation, max_bytes: int
) -> dict[str, Any]:
    """The parameters of a body in JSON, which the share holds.

    Raises:
        RequestError: it is too large, for now or at all, or no JSON object.
        BodyTimeoutError: it comes too slowly, or no more of it.
    """
    _require_plain_json(request)
    parameters = await _parsed("The body", await _read_body(request, share, max_bytes), schema, share)
    if not isinstance(parameters, dict):
        raise RequestError(
            400,
            f"The body must be a JSON object with a query, not {_kind(parameters)}; operations are sent one by one.",
        )
    return parameters


async def _read_body(request: Request, share: Reservation, max_bytes: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    refusal = await refusal_by(share.wait_for_room, int(length)) if length.isdecimal() else None
    held: list[bytes] = []
    body, size, more = BodyReader(request), 0, True
    while more:
        piece, more = await body.next()
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        refusal = refusal or await refusal_by(share.reserve, len(piece))
        if refusal:
            held.clear()
            share.release()
        else:
            held.append(piece)
    if refusal:
        raise _refused("The body", refusal)
    return b"".join(held)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        TOO_LARGE,
        f"The body is larger than {max_bytes:,} bytes; "
        "send less at once, or raise LOOMQL_MAX_BODY_BYTES on the server.",
        "PAYLOAD_TOO_LARGE",
    )


def _refused(what: str, error: StoreError) -> RequestError:
    if isinstance(error, PayloadTooLargeError):
        return RequestError(TOO_LARGE, f"{what} {error.message}.", error.code)
    return retry_later_error(error)


def _require_plain_json(request: Request) -> None:
    media_type, parameters = media_type_of(request.headers.get("content-type", ""))
    if media_type != JSON:
        raise RequestError(415, f"Send the body as {JSON}, and say so in Content-Type.")
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise RequestError(415, "Send the body in UTF-8; JSON has no other charset.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "Send the body without Content-Encoding; it is not decompressed.")


async def query_parameters(request: Request, schema: LimitedSchema, share: Reservation) -> dict[str, Any]:
    """The parameters of a URL.

    Raises:
        RequestError: one that is JSON cannot be read, or is too large for now.
    """
    parameters: dict[str, Any] = {name: value for name, value in request.query_params.items() if value}
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = await _parsed(f"The URL's {name}", parameters[name].encode(), schema, share)
    return parameters


async def _parsed(what: str, text: bytes, schema: LimitedSchema, share: Reservation) -> object:
    try:
        return await schema.parse_request(text, share.reserve)
    except BadInputError as error:
        raise RequestError(400, f"{what} cannot be read: {error.message}.") from error
    except (PayloadTooLargeError, RateLimitedError, UnavailableError) as error:
        raise _refused(what, error) from error


def operation_of(parameters: Mapping[str, Any], trusted: TrustedDocuments | None = None) -> Operation:
    """The operation that a request's parameters describe, or whose document they ask for by its hash.

    Raises:
        RequestError: one is missing or of the wrong type, or there is no such document.
    """
    query = _trusted(parameters, trusted) or parameters.get("query")
    if query is None or query == "":
        raise RequestError(400, 'The query is missing; send a GraphQL document, such as {"query": "{ __typename }"}.')
    for name, kind, needed in (
        ("query", str, "a string"),
        ("operationName", str, "a string or null"),
        ("variables", dict, "an object or null"),
        ("extensions", dict, "an object or null"),
    ):
        value = parameters.get(name)
        if value is not None and not isinstance(value, kind):
            raise RequestError(400, f"{name} must be {needed}, not {_kind(value)}.")
    return Operation(query, parameters.get("variables"), parameters.get("operationName"), parameters.get("extensions"))


def _trusted(parameters: Mapping[str, Any], trusted: TrustedDocuments | None) -> str | None:
    try:
        return trusted_text(parameters, trusted)
    except StoreError as error:
        raise RequestError(STATUS_BY_CODE.get(error.code, 400), f"{error.message}.", error.code) from error


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
