"""Cursors of events: opaque texts for places in a project's events.

One is good for any filter and query over the project, so that a list and the events after it need only one, and at any
server over the same database.

A place tells MongoDB's time, which goes on with every write into any project. So it is encrypted, filled up to a length
that says nothing either, and no two cursors are equal: that nothing was written anywhere would be told by that.
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
_ROOM: Final = 128
"""Bytes that a place is given beside those of its project's id, or several times all that if a call's id is long."""
_END: Final = b"\x80"

PLACE: Final = "after"
"""The argument that takes a cursor."""


class Cursors:
    """The cursors of one database's events; they are opened before any is made or read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._opened: AESGCMSIV | None = None

    async def open(self) -> None:
        """Learn the secret that the servers over the database share; a second time costs nothing.

        Among billions of random nonces two are equal: AES-GCM-SIV withstands that, AES-GCM does not (RFC 8452).

        Raises:
            UnavailableError: the database is away.
        """
        if self._opened is None:
            self._opened = AESGCMSIV(await shared_secret(self._database, CURSORS))

    def cursor_of(self, project_id: str, place: str) -> str:
        """A cursor for a place, which is a text of hexadecimal digits, in a project's events."""
        nonce, project = os.urandom(_NONCE_BYTES), project_id.encode()
        sealed = self._cipher.encrypt(nonce, _filled(bytes.fromhex(place), len(project) + _ROOM), project)
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def place_at(self, project_id: str, cursor: str) -> str:
        """The place that a cursor of the project stands for.

        Raises:
            BadInputError: it is none of the project's events.
        """
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            found = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
            content = self._cipher.decrypt(found[:_NONCE_BYTES], found[_NONCE_BYTES:], project_id.encode())
        except (InvalidTag, binascii.Error, ValueError):
            raise BadInputError(
                "not a cursor of this project's events; take the cursor of an event, or of callEventsCursor", PLACE
            ) from None
        return content.rstrip(b"\0").removesuffix(_END).hex().upper()

    @property
    def _cipher(self) -> AESGCMSIV:
        if self._opened is None:
            raise AssertionError("cursors are opened before any is made or read")
        return self._opened


def _filled(content: bytes, room: int) -> bytes:
    """The content with an end and zeros, up to all of the room or several times that."""
    return content + _END + bytes(-len(content + _END) % room)
