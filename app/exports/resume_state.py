"""Where an export to a file stands, kept beside the file for as long as that is not whole."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SUFFIX: Final = ".loomql-export"


@dataclass(slots=True)
class ResumeState:
    """How much of a file is sure: so many bytes of so many rows, the last of which has the cursor."""

    size: int = 0
    count: int = 0
    cursor: str | None = None


class ResumeFile:
    """The standing of one file; `question` is any text that tells its export from others."""

    def __init__(self, file: Path, question: str) -> None:
        self.path = file.with_name(f"{file.name}{SUFFIX}")
        self._file = file
        self._of = hashlib.sha256(question.encode()).hexdigest()

    def read(self) -> ResumeState | None:
        """The standing of the file as it is; None where it has none, or another export's."""
        try:
            kept = json.loads(self.path.read_bytes())
            if kept.pop("of") != self._of:
                return None
            standing = ResumeState(**kept)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return standing if self._file.stat().st_size >= standing.size else None

    def keep(self, standing: ResumeState) -> None:
        """Keep it; the file must have as much by then."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(json.dumps({"of": self._of, **asdict(standing)}))
        os.replace(new, self.path)  # noqa: PTH105 -- both paths are there

    def forget(self) -> None:
        """The file is whole."""
        self.path.unlink(missing_ok=True)
