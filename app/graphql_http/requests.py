"""Parameters of GraphQL requests over HTTP, from a JSON body or the URL."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from starlette.requests import Request

from app.graphql_http.trusted_documents import TrustedDocuments, trusted_text
from app.http.errors import RequestError
from app.http.media_types import JSON, media_type_of
from app.http.request_body import BodyRules, is_encoded, read_body
from graphql_schema.engine.operations import LimitedSchema
from stores.concurrency.admission import Reservation
from stores.errors import BadInputError, PayloadTooLargeError


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
    request: Request, schema: LimitedSchema, reservation: Reservation, rules: BodyRules
) -> dict[str, Any]:
    """Return the parameters of a JSON body, whose memory the reservation holds.

    Raises:
        RequestError: the body is not a JSON object.
        StoreError: as for `read_body`.
    """
    _require_plain_json(request)
    parameters = await _parse_json("The body", await read_body(request, rules, reservation), schema, reservation)
    if not isinstance(parameters, dict):
        raise RequestError(
            f"The body must be a JSON object with a query, not {_kind(parameters)}; batches are not supported."
        )
    return parameters


def _require_plain_json(request: Request) -> None:
    media_type, parameters = media_type_of(request.headers.get("content-type", ""))
    if media_type != JSON:
        raise RequestError(f"Send the body as {JSON}, with that Content-Type.", 415)
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise RequestError("Send the body in UTF-8; JSON has no other charset.", 415)
    if is_encoded(request.headers):
        raise RequestError("Send the body without Content-Encoding; it is not decompressed.", 415)


async def query_parameters(request: Request, schema: LimitedSchema, reservation: Reservation) -> dict[str, Any]:
    """Return the parameters of a URL.

    Raises:
        BadInputError: a JSON parameter is malformed.
        PayloadTooLargeError: a JSON parameter is too large.
        RateLimitedError: other requests of this caller use its half of the memory.
        UnavailableError: the memory for requests is used up.
    """
    parameters: dict[str, Any] = {name: value for name, value in request.query_params.items() if value}
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = await _parse_json(f"The URL's {name}", parameters[name].encode(), schema, reservation)
    return parameters


async def _parse_json(what: str, text: bytes | bytearray, schema: LimitedSchema, reservation: Reservation) -> object:
    try:
        return await schema.parse_request(text, reservation.reserve)
    except BadInputError as error:
        raise error.reworded(f"{what} cannot be read: {error.message}") from None
    except PayloadTooLargeError as error:
        raise error.reworded(f"{what} {error.message}") from None


def operation_of(parameters: Mapping[str, Any], trusted: TrustedDocuments | None = None) -> Operation:
    """Return the operation of a request's parameters, or the trusted document whose hash they contain.

    Raises:
        RequestError: a parameter is missing or of the wrong type.
        StoreError: as for `trusted_text`.
    """
    query = trusted_text(parameters, trusted) or parameters.get("query")
    if query is None or query == "":
        raise RequestError('The query is missing; send a GraphQL document, such as {"query": "{ __typename }"}.')
    for name, kind, expected in (
        ("query", str, "a string"),
        ("operationName", str, "a string or null"),
        ("variables", dict, "an object or null"),
        ("extensions", dict, "an object or null"),
    ):
        value = parameters.get(name)
        if value is not None and not isinstance(value, kind):
            raise RequestError(f"{name} must be {expected}, not {_kind(value)}.")
    return Operation(query, parameters.get("variables"), parameters.get("operationName"), parameters.get("extensions"))


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
