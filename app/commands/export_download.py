"""`loomql export`: a list into a file, with a progress bar, from where an earlier run was cut off."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands.health import ANY_ADDRESS
from app.exports.client import ExportClient, ExportError
from app.exports.export import TRAILER
from app.exports.resume_state import ResumeFile, ResumeState
from app.settings import Settings
from stores.exports.columns import CURSOR
from stores.json import codec

_KEPT_EVERY: Final = 2_000
_CURSOR: Final = f',"{CURSOR}":"'.encode()
_GO_ON: Final = "run the same command again to go on"
_END: Final = f'{{"{TRAILER}":'.encode()


def own_url(settings: Settings) -> str:
    """The server's address by its settings, as it is reached from this machine."""
    host = ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def run_export(
    url: str,
    concept: str,
    project_id: str,
    parameters: Mapping[str, str],
    file: Path,
    console: Console,
    key: str | None = None,
) -> int | None:
    """Export a list into a file; how many rows it has, but for Parquet, which is not looked into.

    A file of lines that an earlier run of the same export left unfinished is gone on with.

    Raises:
        ExportError: the server refuses, or the answer was cut off; or the file is there already.
        OSError: the file cannot be written.
    """
    client = ExportClient(url, key)
    asked = {"projectId": project_id, **parameters}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        total = client.total(concept, project_id, parameters)
        task = bar.add_task(f"{concept} of {project_id}", total=total)
        if parameters.get("format") == "parquet":
            _write_whole(client.content(concept, asked), file)
            return None
        return _LinesFile(file, concept, asked).write(client, lambda count: bar.update(task, completed=count))


def _write_whole(content: Iterator[bytes], file: Path) -> None:
    """Write a file that is of no use in part, under another name until it is whole."""
    _check_new(file)
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as output:
            for piece in content:
                output.write(piece)
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)


def _check_new(file: Path) -> None:
    """Hold a file to its being new; one that is empty is, as nothing in it could be lost.

    Raises:
        ExportError: it is not.
    """
    if file.exists() and file.stat().st_size:
        raise ExportError(f"{file} is there already, and no unfinished export of this: remove it, or name another file")


class _LinesFile:
    """A file of lines, which is as good as its last whole line."""

    def __init__(self, file: Path, concept: str, asked: Mapping[str, str]) -> None:
        self._concept = concept
        self._asked = asked
        self._file = file
        self._kept = ResumeFile(file, json.dumps([concept, asked], sort_keys=True))
        found = self._kept.read() if file.exists() else ResumeState()
        if found is None:
            _check_new(file)
        self._standing = found or ResumeState()

    def write(self, client: ExportClient, told: Callable[[int], object]) -> int:
        """Write what it lacks, and the line that ends it; how many rows it has then."""
        after = {"after": self._standing.cursor} if self._standing.cursor else {}
        content = client.content(self._concept, {**self._asked, "cursors": "true", **after})
        try:
            with self._file.open("r+b" if self._standing.cursor else "wb") as output:
                self._write(_split(content), output, told)
        finally:
            self._leave_nothing_empty()
        self._kept.forget()
        return self._standing.count

    def _write(self, lines: Iterator[bytes], output: BinaryIO, told: Callable[[int], object]) -> None:
        output.truncate(self._standing.size)
        output.seek(self._standing.size)
        # Also before the first row: whoever is killed then must not find the file in their own way.
        self._keep(output)
        try:
            end = self._write_rows(lines, output, told)
        finally:
            self._keep(output)
        output.write(codec.dumps({TRAILER: end | {"count": self._standing.count, "resumed": False}}) + b"\n")

    def _leave_nothing_empty(self) -> None:
        if self._file.exists() and not self._file.stat().st_size:
            self._file.unlink()
            self._kept.forget()

    def _write_rows(self, lines: Iterator[bytes], output: BinaryIO, told: Callable[[int], object]) -> dict[str, Any]:
        """Write the rows, their cursors left out; what the line says that ends them."""
        standing = self._standing
        for line in lines:
            if line.startswith(_END):
                told(standing.count)
                return _checked(json.loads(line)[TRAILER], standing.count)
            at = line.rindex(_CURSOR)
            standing.size += output.write(line[:at] + b"}\n")
            standing.cursor = line[at + len(_CURSOR) :].rstrip(b'"}\n').decode()
            standing.count += 1
            if standing.count % _KEPT_EVERY == 0:
                self._keep(output)
                told(standing.count)
        raise ExportError(f"the answer was cut off after {standing.count:,} rows; {_GO_ON}")

    def _keep(self, output: BinaryIO) -> None:
        output.flush()
        self._kept.keep(self._standing)


def _checked(says: dict[str, Any], count: int) -> dict[str, Any]:
    if not says["complete"]:
        raise ExportError(f"the export failed after {count:,} rows ({says['error']['message']}); {_GO_ON}")
    return says


def _split(content: Iterator[bytes]) -> Iterator[bytes]:
    """The whole lines of what comes."""
    rest = b""
    for piece in content:
        *lines, rest = (rest + piece).splitlines(keepends=True) if b"\n" in piece else (rest + piece,)
        if rest.endswith(b"\n"):
            lines, rest = [*lines, rest], b""
        yield from lines
