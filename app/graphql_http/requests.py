"""Parameters of GraphQL requests over HTTP, from a JSON body or the URL."""

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
    """The operation that a client requests."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None


class GraphQLRequest(Request):
    """A request with headers in a dictionary by lower-case name; Starlette searches a list at each access."""

    @cached_property
    def headers(self) -> dict[str, str]:  # type: ignore[override] # a dict suffices for the uses here
        """The headers; of repeated ones the first."""
        reversed_headers = reversed(self.scope["headers"])
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed_headers}


async def body_parameters(
    request: Request, schema: LimitedSchema, reservation: Reservation, max_bytes: int
) -> dict[str, Any]:
    """Return the parameters of a JSON body, whose memory the reservation holds.

    Raises:
        RequestError: the body is too large or not a JSON object, or the memory budget is used up.
        BodyTimeoutError: the body arrives too slowly.
    """
    _require_plain_json(request)
    parameters = await _parse_json("The body", await _read_body(request, reservation, max_bytes), schema, reservation)
    if not isinstance(parameters, dict):
        raise RequestError(
            400,
            f"The body must be a JSON object with a query, not {_kind(parameters)}; batches are not supported.",
        )
    return parameters


async def _read_body(request: Request, reservation: Reservation, max_bytes: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    refusal = await refusal_by(reservation.wait_for_room, int(length)) if length.isdecimal() else None
    chunks: list[bytes] = []
    body, size, more = BodyReader(request), 0, True
    while more:
        chunk, more = await body.next()
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        refusal = refusal or await refusal_by(reservation.reserve, len(chunk))
        if refusal:
            chunks.clear()
            reservation.release()
        else:
            chunks.append(chunk)
    if refusal:
        raise _budget_error("The body", refusal)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        TOO_LARGE,
        f"The body is larger than {max_bytes:,} bytes; send less, or raise LOOMQL_MAX_BODY_BYTES on the server.",
        "PAYLOAD_TOO_LARGE",
    )


def _budget_error(what: str, error: StoreError) -> RequestError:
    if isinstance(error, PayloadTooLargeError):
        return RequestError(TOO_LARGE, f"{what} {error.message}.", error.code)
    return retry_later_error(error)


def _require_plain_json(request: Request) -> None:
    media_type, parameters = media_type_of(request.headers.get("content-type", ""))
    if media_type != JSON:
        raise RequestError(415, f"Send the body as {JSON}, with that Content-Type.")
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise RequestError(415, "Send the body in UTF-8; JSON has no other charset.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "Send the body without Content-Encoding; it is not decompressed.")


async def query_parameters(request: Request, schema: LimitedSchema, reservation: Reservation) -> dict[str, Any]:
    """Return the parameters of a URL.

    Raises:
        RequestError: a JSON parameter is malformed or too large, or the memory budget is used up.
    """
    parameters: dict[str, Any] = {name: value for name, value in request.query_params.items() if value}
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = await _parse_json(f"The URL's {name}", parameters[name].encode(), schema, reservation)
    return parameters


async def _parse_json(what: str, text: bytes, schema: LimitedSchema, reservation: Reservation) -> object:
    try:
        return await schema.parse_request(text, reservation.reserve)
    except BadInputError as error:
        raise RequestError(400, f"{what} cannot be read: {error.message}.") from error
    except (PayloadTooLargeError, RateLimitedError, UnavailableError) as error:
        raise _budget_error(what, error) from error


def operation_of(parameters: Mapping[str, Any], trusted: TrustedDocuments | None = None) -> Operation:
    """Return the operation of a request's parameters, or the trusted document whose hash they contain.

    Raises:
        RequestError: a parameter is missing or of the wrong type, or the document is unknown.
    """
    query = _trusted_document(parameters, trusted) or parameters.get("query")
    if query is None or query == "":
        raise RequestError(400, 'The query is missing; send a GraphQL document, such as {"query": "{ __typename }"}.')
    for name, kind, expected in (
        ("query", str, "a string"),
        ("operationName", str, "a string or null"),
        ("variables", dict, "an object or null"),
        ("extensions", dict, "an object or null"),
    ):
        value = parameters.get(name)
        if value is not None and not isinstance(value, kind):
            raise RequestError(400, f"{name} must be {expected}, not {_kind(value)}.")
    return Operation(query, parameters.get("variables"), parameters.get("operationName"), parameters.get("extensions"))


def _trusted_document(parameters: Mapping[str, Any], trusted: TrustedDocuments | None) -> str | None:
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
