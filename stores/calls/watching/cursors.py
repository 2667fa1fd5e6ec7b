"""Cursors of events: opaque texts for places in a project's events.

One is good for any filter and query over the project, so that a list and the events after it need only one, and at any
server over the same database.
"""

import base64
import binascii
import hashlib
from typing import Final

from stores.errors import BadInputError

_VERSION: Final = b"\x01"
_CHECKSUM_BYTES: Final = 8

PLACE: Final = "after"
"""The argument that takes a cursor."""


def cursor_of(project_id: str, place: str) -> str:
    """The cursor for a place, which is a text of hexadecimal digits, in a project's events."""
    content = bytes.fromhex(place)
    return base64.urlsafe_b64encode(_VERSION + _checksum(project_id, content) + content).decode().rstrip("=")


def place_at(project_id: str, cursor: str) -> str:
    """The place that a cursor of the project stands for.

    Whoever computes a checksum of their own gets no further than to another place in the same project.

    Raises:
        BadInputError: it is none of the project's events.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        found = b""
    start = len(_VERSION) + _CHECKSUM_BYTES
    content = found[start:]
    if not content or found[:start] != _VERSION + _checksum(project_id, content):
        raise BadInputError(
            "not a cursor of this project's events; take the cursor of an event, or of callEventsCursor", PLACE
        )
    return content.hex().upper()


def _checksum(project_id: str, content: bytes) -> bytes:
    return hashlib.blake2b(content, key=_key(project_id), digest_size=_CHECKSUM_BYTES).digest()


def _key(project_id: str) -> bytes:
    return hashlib.blake2b(f"callEvents {project_id}".encode(), digest_size=32).digest()
