"""What a connection brings to say who it is: a key or a token, in a header or in a WebSocket's first message."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Final

from starlette.responses import Response

from stores.errors import StoreError, UnauthenticatedError

_HEADER: Final = b"authorization"
LONGEST: Final = 16_384
_MEMBERS: Final = ("authorization", "apikey")
"""The members of a first message that may bring one, in any letter case."""

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="LoomQL"'}
"""Not Basic, though it is taken: browsers would ask for a password on top of GraphiQL."""

FIRST_KEY: Final = "loomql key create --project '*' --role admin"
"""The command that creates a first key."""


def unauthenticated_error() -> UnauthenticatedError:
    """The refusal, the same for who brings nothing, or what is wrong, was revoked or has expired."""
    return UnauthenticatedError(
        "say who you are by a key that is neither revoked nor over: Authorization: Bearer KEY, or Basic with it as the "
        "password; `loomql key create --project PROJECT --role ROLE` on the server makes one"
    )


def no_key_yet() -> UnauthenticatedError:
    """Return the refusal of a server that requires keys and has none; a WebSocket's close frame holds 123 bytes."""
    return UnauthenticatedError(f"no key exists yet; create the first one on the server: {FIRST_KEY}")


def with_challenge(response: Response, error: StoreError) -> Response:
    """Add the header WWW-Authenticate to a response if `error` says that credentials are missing or invalid."""
    if isinstance(error, UnauthenticatedError):
        response.headers.update(CHALLENGE)
    return response


def first_header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """The first header of a name among ASGI's; None where there is none."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


def header_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The header Authorization among ASGI's; None where there is none. Of two the first counts."""
    found = first_header(headers, _HEADER)
    return None if found is None else found.decode("latin-1")


def of_message(payload: Mapping[str, object]) -> str | None:
    """The same as a WebSocket's first message says it, `{"Authorization": "Bearer KEY"}` or `{"apiKey": KEY}`."""
    found = {name.lower(): value for name, value in payload.items() if name.lower() in _MEMBERS}
    if isinstance(header := found.get("authorization"), str):
        return header
    key = found.get("apikey")
    return f"Bearer {key}" if isinstance(key, str) else None


def secret_of(authorization: str) -> str | None:
    """The key or token that a header brings; None where it brings none.

    That is what follows Bearer; or of Basic the password, whatever the user is, or the user where there is no password.
    """
    scheme, _, rest = authorization.partition(" ")
    rest = rest.strip()
    if len(rest) > LONGEST:
        return None
    match scheme.lower():
        case "bearer":
            return rest or None
        case "basic":
            return _password(rest)
        case _:
            return None


def _password(encoded: str) -> str | None:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    user, _, password = text.partition(":")
    return password or user or None
