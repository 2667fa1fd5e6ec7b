"""Lines that could not be stored, in a file of their own: each with its number, the reason, and all that it held."""

from pathlib import Path
from typing import BinaryIO, Final

from stores.errors import StoreError
from stores.json import codec

SUFFIX: Final = ".rejects.ndjson"


class Rejects:
    """The file of rejects, which is made with the first of them; what an earlier run left behind `kept` bytes goes."""

    def __init__(self, source: Path, folder: Path, kept: int) -> None:
        self.path = folder / f"{source.name}{SUFFIX}"
        self._file: BinaryIO | None = None
        if kept and self.path.exists():
            # Whoever looked into it meanwhile may have taken something out.
            there = min(kept, self.path.stat().st_size)
            self._file = self.path.open("r+b")
            self._file.truncate(there)
            self._file.seek(there)
        else:
            self.path.unlink(missing_ok=True)

    def add(self, number: int, content: bytes, error: StoreError | str) -> None:
        """Write one down."""
        says: dict[str, object] = {"line": number}
        if isinstance(error, StoreError):
            says |= {"error": error.message, "argument": error.argument, "code": error.code}
        else:
            says["error"] = error
        says["content"] = content.decode("utf-8", "backslashreplace").rstrip("\n")
        if self._file is None:
            self._file = self.path.open("w+b")
        self._file.write(codec.dumps(says) + b"\n")

    def size(self) -> int:
        """How many bytes are written, all of which are in the file by then."""
        if self._file is None:
            return 0
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Write no more."""
        if self._file:
            self._file.close()
