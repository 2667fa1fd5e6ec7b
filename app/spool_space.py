"""How much of the disk the files of forms take at once, in one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stores.errors import UnavailableError
from stores.files import MAX_FILE_BYTES

MAX_BYTES: Final = 2 * MAX_FILE_BYTES


class SpoolSpace:
    """The bytes that wait on the disk; whoever is alone has always room."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of files that wait on the disk."""
        return self._bytes

    @property
    def max_bytes(self) -> int:
        """The most that do at once."""
        return self._max_bytes

    @contextmanager
    def part(self) -> Iterator["SpoolPart"]:
        """What one request takes of it, given back when the block ends."""
        part = SpoolPart(self)
        try:
            yield part
        finally:
            self._bytes -= part.size

    def take(self, size: int, own: int) -> None:
        """Count so many bytes in, beside those of their own request.

        Raises:
            UnavailableError: there is no room for them.
        """
        if self._bytes > own and self._bytes + size > self._max_bytes:
            raise UnavailableError(
                "the server keeps as much as it can (LOOMQL_MAX_SPOOLED_BYTES) of the files of other requests; "
                "nothing of this request is stored, send it again a little later"
            )
        self._bytes += size


class SpoolPart:
    """What one request takes of the space."""

    def __init__(self, space: SpoolSpace) -> None:
        self._space = space
        self.size = 0

    def grow(self, size: int) -> None:
        """Take so many bytes more.

        Raises:
            UnavailableError: there is no room for them.
        """
        self._space.take(size, self.size)
        self.size += size
