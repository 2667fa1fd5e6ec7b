"""The log of a mongod: bounded on disk, without what clients store and search for, its last lines at hand.

mongod's own redaction is in its Enterprise edition alone, and a high slow-query threshold silences only slow queries:
warnings of queries that fail repeat the whole command, too.
"""

import json
import os
import re
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO, Final

MAX_BYTES = 8 * 1024 * 1024
TAIL_LINES = 200
SHOWN_LINES = 3
SHOWN_SIGNS = 200
ERRORS = frozenset({"E", "F"})
WARNING = "W"
ABOUT_THE_MACHINE = "startupWarnings"

_WITHOUT_DATA: Final = frozenset({"ACCESS", "CONTROL", "ELECTION", "FTDC", "NETWORK"})
"""Components of mongod whose entries are about the server, its connections and the machine."""

_CODE_NAME: Final = re.compile(r"[A-Z][A-Za-z]+[0-9]*(?=: )")
"""The name of an error's code before its text, which may repeat a document."""

_KEPT: Final = frozenset(
    {
        *(
            "type",
            "ns",
            "namespace",
            "remote",
            "planSummary",
            "queryHash",
            "planCacheKey",
            "queryFramework",
            "cursorid",
        ),
        *("planningTimeMicros", "cpuNanos", "workingMillis", "durationMillis", "duration", "errCode", "errName"),
        *(
            "keysExamined",
            "docsExamined",
            "hasSortStage",
            "usedDisk",
            "fromMultiPlanner",
            "replanned",
            "cursorExhausted",
        ),
        *("nreturned", "nMatched", "nModified", "nUpserted", "ninserted", "ndeleted", "keysInserted", "keysDeleted"),
        *("numYields", "writeConflicts", "reslen", "locks", "flowControl", "readConcern", "writeConcern", "storage"),
        *("collectionUUID", "buildUUID", "message", "code", "codeName", "file"),
    }
)
"""Attributes of entries with data that hold names, numbers and the storage engine's messages."""


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
        """Write one line, its newline included, without the values of clients."""
        line = without_values(line)
        self._lines.append(line)
        try:
            self._writable().write(line)
        except OSError:
            self.close()

    def forget(self) -> None:
        """Forget the last lines: what was said so far belongs to an earlier mongod."""
        self._lines.clear()

    def recent(self) -> str:
        """The last lines as they were written."""
        return b"".join(self._lines).decode(errors="replace")

    def gist(self) -> str:
        """What a mongod that failed has to say, on one line: its first errors, else its last warnings."""
        lines = [line for line in self._lines if line.strip()]
        errors = dict.fromkeys(_plain(line) for line in lines if _severity(line) in ERRORS)
        warnings = dict.fromkeys(_plain(line) for line in lines if _warns(line))
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
    """Return a line of mongod without what commands, documents and errors about them have in it."""
    if not line.startswith(b"{"):
        return line  # of a loader, a shell or a crash
    entry = _entry(line)
    if not entry:
        return b""  # cut off, by the end of mongod or a full disk
    component, attributes = entry.get("c"), entry.get("attr", {})
    if component in _WITHOUT_DATA:
        return line
    # The numbers of an error are mongod's own: of an assertion, of a line, of the operating system.
    keeps_numbers = entry.get("s") in ERRORS
    kept = {
        name: value
        for name, value in attributes.items()
        if name in _KEPT or (keeps_numbers and isinstance(value, int | float))
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
        # A text that mongod cuts may end within a character.
        entry = json.loads(line.decode(errors="replace"))
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _severity(line: bytes) -> str:
    """The severity that mongod gives; a line that is not its JSON is an error, written by a loader or a shell."""
    return str(_entry(line).get("s", "E"))


def _warns(line: bytes) -> bool:
    """Whether it is a warning of what happens; those that come at each start are about the machine."""
    entry = _entry(line)
    return entry.get("s") == WARNING and ABOUT_THE_MACHINE not in entry.get("tags", ())


def _plain(line: bytes) -> str:
    """A line for people: its message and what it is about, at most `SHOWN_SIGNS` long."""
    entry = _entry(line)
    attributes = entry.get("attr", {})
    cause = attributes.get("message", attributes)
    about = f"{cause['msg']}: {cause['error_str']}" if {"msg", "error_str"} <= set(cause) else json.dumps(cause)
    text = f"{entry['msg']} {about if cause else ''}" if "msg" in entry else line.decode(errors="replace")
    return text.strip()[:SHOWN_SIGNS]
