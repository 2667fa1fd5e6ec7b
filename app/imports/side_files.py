"""Files next to an imported file: its progress, until all of it is stored, and its rejected lines."""

import hashlib
import json
import logging
import os
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import BinaryIO, Final

from stores.errors import StoreError
from stores.json import codec

_PROGRESS_SUFFIX: Final = ".loomql-import"
_REJECTS_SUFFIX: Final = ".rejects.ndjson"

logger = logging.getLogger("loomql")


@dataclass(slots=True)
class Progress:
    """Progress up to byte `offset`, which is the end of line `line`; `stored` counts rows by kind.

    `rows` counts the rows since the last trailer, and `complaints` lists problems of the file.
    """

    offset: int = 0
    line: int = 0
    rejected: int = 0
    rejects_bytes: int = 0
    rows: int = 0
    is_ours: bool = False
    has_ended: bool = False
    stored: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)


class ProgressFile:
    """The saved progress of one file; `target` identifies the destination."""

    def __init__(self, source: Path, folder: Path, target: str) -> None:
        self._path = folder / f"{source.name}{_PROGRESS_SUFFIX}"
        status = source.stat()
        self.source_size = status.st_size
        self._identity = hashlib.sha256(repr((status.st_size, status.st_mtime_ns, target)).encode()).hexdigest()
        self._has_warned = False

    def read(self) -> Progress:
        """Return the saved progress; a new one if it is missing, or of another file or target."""
        try:
            saved = json.loads(self._path.read_bytes())
            if saved.pop("of") != self._identity:
                return Progress()
            stored, left_out = (Counter[str](saved.pop(name)) for name in ("stored", "left_out"))
            return Progress(**saved, stored=stored, left_out=left_out)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Progress()

    def keep(self, progress: Progress) -> None:
        """Save the progress; without it the next run starts from the beginning, which does no harm."""
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            saved = {name.name: getattr(progress, name.name) for name in fields(progress)}
            new.write_text(json.dumps({"of": self._identity, **saved}))
            os.replace(new, self._path)  # noqa: PTH105 -- both paths are there
        except OSError as error:
            if not self._has_warned:
                logger.warning("the import progress cannot be saved (%s): an interrupted import will restart", error)
            self._has_warned = True

    def delete(self) -> None:
        """Delete the progress of a fully imported file."""
        self._path.unlink(missing_ok=True)


class Rejects:
    """The file of rejects, created with the first one; on resuming, everything after `kept` bytes is removed."""

    def __init__(self, source: Path, folder: Path, kept: int) -> None:
        self.path = folder / f"{source.name}{_REJECTS_SUFFIX}"
        self._file: BinaryIO | None = None
        if kept and self.path.exists():
            # The user may have shortened the file meanwhile.
            os.truncate(self.path, min(kept, self.size()))
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
            self._file = self.path.open("ab")  # once: an open for each line takes more time than the line
        self._file.write(codec.dumps(entry) + b"\n")

    def size(self) -> int:
        """Flush the file and return its size in bytes; 0 if there is none."""
        if self._file:
            self._file.flush()
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
