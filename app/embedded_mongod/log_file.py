"""The log of a mongod: bounded on disk, free of clients' data, with its last lines in memory.

Only MongoDB's Enterprise edition can redact its log. A high slow-query threshold would not do: warnings of failed
queries repeat the whole command, too.
"""

import json
import os
import re
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO, Final

MAX_BYTES: Final = 8 * 1024 * 1024
TAIL_LINES: Final = 200
SHOWN_LINES: Final = 3
SHOWN_SIGNS: Final = 200
ERRORS: Final = frozenset({"E", "F"})

_WITHOUT_DATA: Final = frozenset({"ACCESS", "CONTROL", "ELECTION", "FTDC", "NETWORK"})
"""Components of mongod whose entries contain no client data."""

_CODE_NAME: Final = re.compile(r"[A-Z][A-Za-z]+[0-9]*(?=: )")
"""The name of an error code before the message, which may repeat a document."""

_KEPT_ATTRIBUTES: Final = frozenset(
    {
        *("type", "ns", "namespace", "remote", "planSummary", "queryHash", "planCacheKey", "queryFramework"),
        *("cursorid", "planningTimeMicros", "cpuNanos", "workingMillis", "durationMillis", "duration", "errCode"),
        *("errName", "keysExamined", "docsExamined", "hasSortStage", "usedDisk", "fromMultiPlanner", "replanned"),
        *("cursorExhausted", "nreturned", "nMatched", "nModified", "nUpserted", "ninserted", "ndeleted"),
        *("keysInserted", "keysDeleted", "numYields", "writeConflicts", "reslen", "locks", "flowControl"),
        *("readConcern", "writeConcern", "storage", "collectionUUID", "buildUUID", "message", "code", "codeName"),
        "file",
    }
)
"""Attributes kept in entries with data: names, numbers and messages of the storage engine."""


class LogFile:
    """Appends lines to `path`, and renames it to `<path>.1` at `max_bytes`.

    On a full disk lines are lost, and mongod goes on.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._file: BinaryIO | None = None

    def append(self, line: bytes) -> None:
        """Write one line, with its newline, without client data."""
        line = without_values(line)
        self._lines.append(line)
        try:
            self._writable().write(line)
        except OSError:
            self.close()

    def clear(self) -> None:
        """Clear the last lines, which belong to an earlier mongod."""
        self._lines.clear()

    def recent(self) -> str:
        """Return the last lines as written."""
        return b"".join(self._lines).decode(errors="replace")

    def gist(self) -> str:
        """Summarize a failed mongod's log on one line: its first errors, else its last warnings."""
        errors, warnings = dict[str, None](), dict[str, None]()
        for line in filter(bytes.strip, self._lines):
            entry = _entry(line)
            # A line without JSON is an error of a loader or shell. Warnings at each start are about the machine.
            if str(entry.get("s", "E")) in ERRORS:
                errors[_plain(line, entry)] = None
            elif entry.get("s") == "W" and "startupWarnings" not in entry.get("tags", ()):
                warnings[_plain(line, entry)] = None
        return "; ".join(list(errors)[:SHOWN_LINES] or list(warnings)[-SHOWN_LINES:])

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


def without_values(line: bytes) -> bytes:
    """Return a line of mongod's log without data from commands, documents and their errors."""
    if not line.startswith(b"{"):
        return line  # written by a loader, a shell or a crash
    entry = _entry(line)
    if not entry:
        return b""  # truncated by the end of mongod or a full disk
    component, attributes = entry.get("c"), entry.get("attr", {})
    if component in _WITHOUT_DATA:
        return line
    # Numbers of an error are mongod's own: of an assertion, a source line or the operating system.
    keeps_numbers = entry.get("s") in ERRORS
    kept = {
        name: value
        for name, value in attributes.items()
        if name in _KEPT_ATTRIBUTES or (keeps_numbers and isinstance(value, int | float))
    }
    match attributes.get("error"):
        case dict(error):
            kept["error"] = {name: error[name] for name in ("code", "codeName") if name in error}
        case str(error) if found := _CODE_NAME.match(error):
            kept["error"] = found[0]
    if kept == attributes:
        return line
    return json.dumps({**entry, "attr": kept}, separators=(",", ":")).encode() + b"\n"


def _entry(line: bytes) -> dict[str, Any]:
    try:
        # mongod may truncate a text within a character.
        entry = json.loads(line.decode(errors="replace"))
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _plain(line: bytes, entry: dict[str, Any]) -> str:
    """Format a line for people: its message and attributes, at most `SHOWN_SIGNS` characters."""
    attributes = entry.get("attr", {})
    cause = attributes.get("message", attributes)
    about = f"{cause['msg']}: {cause['error_str']}" if {"msg", "error_str"} <= set(cause) else json.dumps(cause)
    text = f"{entry['msg']} {about if cause else ''}" if "msg" in entry else line.decode(errors="replace")
    return text.strip()[:SHOWN_SIGNS]
