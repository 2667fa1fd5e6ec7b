"""Credentials of a connection: a key or token in the Authorization header or in a WebSocket's first message."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Final

from stores.errors import UnauthenticatedError

_HEADER: Final = b"authorization"
MAX_CHARACTERS: Final = 16_384
_MESSAGE_MEMBERS: Final = ("authorization", "apikey")
"""Members of a WebSocket's first message that may hold credentials, in any letter case."""

FIRST_KEY: Final = "loomql key create --project '*' --role admin"
"""Command that creates the first key."""


def unauthenticated_error() -> UnauthenticatedError:
    """Return the error for missing, wrong, revoked and expired credentials alike."""
    return UnauthenticatedError(
        "send a key that is neither revoked nor expired: Authorization: Bearer KEY, or Basic with the key as the "
        "password; `loomql key create --project PROJECT --role ROLE` on the server creates one"
    )


def no_keys_error() -> UnauthenticatedError:
    """Return the error of a server that requires keys and has none; a WebSocket's close frame holds 123 bytes."""
    return UnauthenticatedError(f"no key exists yet; create the first one on the server: {FIRST_KEY}")


def first_header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """Return the value of the first ASGI header with a name; None if there is none."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


def authorization_header(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the value of the first Authorization header; None if there is none."""
    header = first_header(headers, _HEADER)
    return None if header is None else header.decode("latin-1")


def authorization_in_message(payload: Mapping[str, object]) -> str | None:
    """Return the credentials in a WebSocket's first message, as the value of an Authorization header.

    The message is `{"Authorization": "Bearer KEY"}` or `{"apiKey": KEY}`; None if it has neither.
    """
    members = {name.lower(): value for name, value in payload.items() if name.lower() in _MESSAGE_MEMBERS}
    if isinstance(header := members.get("authorization"), str):
        return header
    key = members.get("apikey")
    return f"Bearer {key}" if isinstance(key, str) else None


def secret_of(authorization: str) -> str | None:
    """Return the key or token in the value of an Authorization header; None if it holds none.

    Of Bearer it is the rest of the value. Of Basic it is the password, or the user name if there is no password.
    """
    scheme, _, rest = authorization.partition(" ")
    rest = rest.strip()
    if len(rest) > MAX_CHARACTERS:
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
