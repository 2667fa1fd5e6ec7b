"""Cursors of events: opaque, encrypted positions in a project's events.

A cursor is valid for any filter and query over its project, and at every server of the same database.

A resume token contains MongoDB's timestamp, which advances with writes to any project. Cursors are therefore encrypted
and padded, and no two are equal; otherwise equal cursors would reveal that no project was written to.
"""

import base64
import binascii
import os
from typing import Final

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
