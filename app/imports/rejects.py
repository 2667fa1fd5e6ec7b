"""The file of rejected lines: each with its number, the reason and the content."""

from pathlib import Path
from typing import BinaryIO, Final

from stores.errors import StoreError
from stores.json import codec

SUFFIX: Final = ".rejects.ndjson"


class Rejects:
    """The file of rejects, created with the first one; on resuming, everything after `kept` bytes is removed."""

    def __init__(self, source: Path, folder: Path, kept: int) -> None:
        self.path = folder / f"{source.name}{SUFFIX}"
        self._file: BinaryIO | None = None
        if kept and self.path.exists():
            # The user may have shortened the file meanwhile.
            size = min(kept, self.path.stat().st_size)
            self._file = self.path.open("r+b")
            self._file.truncate(size)
            self._file.seek(size)
        else:
            self.path.unlink(missing_ok=True)

    def add(self, number: int, content: bytes, error: StoreError | str) -> None:
        """Append a rejected line."""
        entry: dict[str, object] = {"line": number}
        if isinstance(error, StoreError):
            entry |= {"error": error.message, "argument": error.argument, "code": error.code}
        else:
            entry["error"] = error
        entry["content"] = content.decode("utf-8", "backslashreplace").rstrip("\n")
        if self._file is None:
            self._file = self.path.open("w+b")
        self._file.write(codec.dumps(entry) + b"\n")

    def size(self) -> int:
        """Flush the file and return its size in bytes."""
        if self._file is None:
            return 0
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
