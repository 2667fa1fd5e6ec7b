"""The log of a mongod: bounded on disk, its last lines at hand."""

import json
import os
from collections import deque
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 8 * 1024 * 1024
TAIL_LINES = 200
SHOWN_LINES = 8
LOUD = frozenset({"W", "E", "F"})


class LogFile:
    """Appends lines to `path` and moves it to `<path>.1` when it has grown to `max_bytes`.

    A full disk costs lines of the log, never the mongod that writes them.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._file: BinaryIO | None = None

    def append(self, line: bytes) -> None:
        """Write one line, its newline included."""
        self._lines.append(line)
        try:
            self._writable().write(line)
        except OSError:
            self.close()

    def forget(self) -> None:
        """Start a new tail: what was said so far belongs to an earlier mongod."""
        self._lines.clear()

    def tail(self) -> str:
        """What the mongod said last that matters: its loudest lines, or the last ones if none was loud."""
        lines = [_plain(line) for line in self._lines]
        loud = [text for text, severity in lines if severity in LOUD and text]
        return "\n".join((loud or [text for text, _ in lines if text])[-SHOWN_LINES:])

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _writable(self) -> BinaryIO:
        if self._file is not None and self._file.tell() >= self.max_bytes:
            self.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        if self._file is None:
            mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._file = os.fdopen(os.open(self.path, mode, 0o600), "ab", buffering=0)
        return self._file


def _plain(line: bytes) -> tuple[str, str]:
    """A line as (text for people, severity); what is not mongod's JSON is loud, since a loader wrote it."""
    text = line.decode(errors="replace").strip()
    try:
        entry = json.loads(text)
        severity, message = str(entry["s"]), str(entry["msg"])
    except (ValueError, TypeError, KeyError):
        return text, "E"
    attributes = entry.get("attr")
    return (f"{message} {json.dumps(attributes)}" if attributes else message), severity
