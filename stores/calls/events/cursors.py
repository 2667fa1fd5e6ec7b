"""Positions in a project's events: resume tokens of change streams, and the cursors that encrypt them for clients.

A cursor is valid for any filter and query over its project, and at every server of the same database. A resume token
contains MongoDB's timestamp, which advances with writes to any project. Cursors are therefore encrypted and padded, and
no two are equal; otherwise equal cursors would reveal that no project was written to.

Tokens are hexadecimal texts that sort lexically. After one byte for the type come the seconds and the counter of the
timestamp, then the format version (2B..). A 0 (29) follows if the token is a bare timestamp, which sorts before all
changes of that timestamp.
"""

import base64
import binascii
import os
from typing import Final

from bson.timestamp import Timestamp
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from stores.database import Database
from stores.errors import BadInputError
from stores.security.shared_secrets import CURSORS, shared_secret

_NONCE_BYTES: Final = 12
_PADDED_BYTES: Final = 128
"""Bytes to which a resume token is padded, plus the project id's length; long call ids take a multiple of that."""
_END: Final = b"\x80"

CURSOR_ARGUMENT: Final = "after"
"""Name of the argument that takes a cursor."""

_TYPE: Final = "82"
_SECONDS: Final = slice(2, 10)
_COUNTER: Final = slice(10, 18)
_VERSION: Final = slice(18, 20)
_KIND: Final = slice(22, 24)


class Cursors:
    """Creates and reads the event cursors of one database; call `open` first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._opened: AESGCMSIV | None = None

    async def open(self) -> None:
        """Read the secret that all servers of the database share; further calls do nothing.

        Two of billions of random nonces may be equal, which AES-GCM-SIV tolerates and AES-GCM does not (RFC 8452).

        Raises:
            UnavailableError: if the database is unreachable.
        """
        if self._opened is None:
            self._opened = AESGCMSIV(await shared_secret(self._database, CURSORS))

    def encode(self, project_id: str, token: str) -> str:
        """Create a cursor for a resume token, a hexadecimal text, in a project's events."""
        nonce, project = os.urandom(_NONCE_BYTES), project_id.encode()
        encrypted = self._cipher.encrypt(nonce, _padded(bytes.fromhex(token), len(project) + _PADDED_BYTES), project)
        return base64.urlsafe_b64encode(nonce + encrypted).decode().rstrip("=")

    def decode(self, project_id: str, cursor: str) -> str:
        """Return the resume token of a project's cursor.

        Raises:
            BadInputError: if the cursor belongs to another project, or is none.
        """
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            decoded = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
            content = self._cipher.decrypt(decoded[:_NONCE_BYTES], decoded[_NONCE_BYTES:], project_id.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise BadInputError(
                "not a cursor of this project's events; use the cursor of an event, or callEventsCursor",
                CURSOR_ARGUMENT,
            ) from None
        return content.rstrip(b"\0").removesuffix(_END).hex().upper()

    @property
    def _cipher(self) -> AESGCMSIV:
        if self._opened is None:
            raise AssertionError("Cursors.open must be awaited before encode or decode")
        return self._opened


def _padded(content: bytes, block: int) -> bytes:
    """Pad the content with an end marker and zeros to a multiple of `block`."""
    return content + _END + bytes(-len(content + _END) % block)


def is_known_format(token: str) -> bool:
    """Return True if the token has the known format; tokens of other formats are only compared."""
    return token[:2] == _TYPE and token[_VERSION] == "2B"


def is_bare_timestamp(token: str) -> bool:
    """Return True if the token is a bare timestamp; any other token reveals whose change it is."""
    return is_known_format(token) and token[_KIND] == "29"


def timestamp_of(token: str) -> Timestamp | None:
    """Return the token's timestamp; None if its format is unknown."""
    return Timestamp(int(token[_SECONDS], 16), int(token[_COUNTER], 16)) if is_known_format(token) else None


def token_at(timestamp: Timestamp) -> str:
    """Return the token before all changes of a timestamp, in the oldest format, which every MongoDB accepts."""
    return f"{_TYPE}{timestamp.time:08X}{timestamp.inc:08X}2B0229296E04"


def token_after_timestamp(token: str) -> str:
    """Return the token after all changes of a bare timestamp; any other token unchanged."""
    if not is_bare_timestamp(token):
        return token
    return f"{token[: _COUNTER.start]}{int(token[_COUNTER], 16) + 1:08X}{token[_COUNTER.stop :]}"
