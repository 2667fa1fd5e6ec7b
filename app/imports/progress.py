"""How far an import has come, and where that is kept: beside the file, until all of it is stored."""

import hashlib
import json
import logging
import os
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

_SUFFIX: Final = ".loomql-import"

logger = logging.getLogger("loomql")


@dataclass(slots=True)
class Progress:
    """What was done up to an offset, before which there are so many lines; `stored` counts by kind.

    `rows` counts those since the last line that ended an export, `complaints` say what was found wrong with the file.
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
    """The progress of one file on its way into one target, which is any text that tells it from others."""

    def __init__(self, source: Path, folder: Path, target: str) -> None:
        self._path = folder / f"{source.name}{_SUFFIX}"
        found = source.stat()
        self.source_size = found.st_size
        self._of = hashlib.sha256(repr((found.st_size, found.st_mtime_ns, target)).encode()).hexdigest()
        self._is_told = False

    def read(self) -> Progress:
        """The progress that was kept; from the start where none was, or of another file or target."""
        try:
            kept = json.loads(self._path.read_bytes())
            if kept.pop("of") != self._of:
                return Progress()
            stored, left_out = (Counter[str](kept.pop(name)) for name in ("stored", "left_out"))
            return Progress(**kept, stored=stored, left_out=left_out)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Progress()

    def keep(self, progress: Progress) -> None:
        """Keep it; where that cannot be written, the next run begins at the start, which does no harm."""
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            kept = {name.name: getattr(progress, name.name) for name in fields(progress)}
            new.write_text(json.dumps({"of": self._of, **kept}))
            os.replace(new, self._path)  # noqa: PTH105 -- both paths are there
        except OSError as error:
            if not self._is_told:
                logger.warning("how far this import is cannot be kept (%s): if it is cut off, it begins anew", error)
            self._is_told = True

    def forget(self) -> None:
        """All is stored."""
        self._path.unlink(missing_ok=True)
