"""Position of an export to a file, saved next to the file until it is complete."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SUFFIX: Final = ".loomql-export"


@dataclass(slots=True)
class ResumeState:
    """The valid part of a file: its size in bytes, its rows, and the cursor of the last one."""

    size: int = 0
    count: int = 0
    cursor: str | None = None


class ResumeFile:
    """The saved state of one file; `request` identifies the list and its arguments."""

    def __init__(self, file: Path, request: str) -> None:
        self.path = file.with_name(f"{file.name}{SUFFIX}")
        self._file = file
        self._of = hashlib.sha256(request.encode()).hexdigest()

    def read(self) -> ResumeState | None:
        """Return the state; None if it is missing, belongs to another export, or the file is shorter."""
        try:
            saved = json.loads(self.path.read_bytes())
            if saved.pop("of") != self._of:
                return None
            state = ResumeState(**saved)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return state if self._file.stat().st_size >= state.size else None

    def keep(self, state: ResumeState) -> None:
        """Save the state; its bytes must already be in the file."""
        new = self.path.with_name(f"{self.path.name}.new")
        new.write_text(json.dumps({"of": self._of, **asdict(state)}))
        os.replace(new, self.path)  # noqa: PTH105 -- both paths are there

    def delete(self) -> None:
        """Delete the state of a complete file."""
        self.path.unlink(missing_ok=True)
