"""Tests that `loomql export` writes complete files and resumes interrupted ones."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from app.cli import main
from app.commands.exports import SUFFIX, ExportClient, ExportError, run_export
from stores.exports import CALL_COLUMNS
from tests.app.exported_project import COUNT
from tests.stores.calls.builders import PROJECT, call_id


async def export(url: str, concept: str, file: Path, **parameters: str) -> int | None:
    return await asyncio.to_thread(run_export, url, concept, PROJECT, parameters, file, Console(file=io.StringIO()))


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_export_command_writes_a_complete_file(
    exporting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "calls.ndjson"
    newest_first = '[{"field": "started_at", "direction": "DESC"}]'

    code = main(["export", "calls", str(file), "--project", PROJECT, "--url", exporting, "--sort-by", newest_first])

    *rows, last = lines(file)
    assert code == 0
    assert capsys.readouterr().out == f"Exported {COUNT + 1:,} calls of {PROJECT} to {file}.\n"
    assert [row["id"] for row in rows] == [call_id(number) for number in reversed(range(COUNT + 1))]
    assert tuple(rows[0]) == CALL_COLUMNS.names
    assert (last["loomql_export"]["count"], last["loomql_export"]["complete"]) == (COUNT + 1, True)
    assert files_in(tmp_path) == [file]


async def test_interrupted_export_resumes(exporting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, file = tmp_path / "whole.ndjson", tmp_path / "cut.ndjson"
    await export(exporting, "calls", whole)
    content = ExportClient.content

    def cut_off(client: ExportClient, concept: str, parameters: dict[str, str]) -> Iterator[bytes]:
        pieces = content(client, concept, parameters)
        yield next(pieces)[:-50]
        raise ExportError("the connection was cut off")

    monkeypatch.setattr(ExportClient, "content", cut_off)
    with pytest.raises(ExportError, match="cut off"):
        await export(exporting, "calls", file)
    monkeypatch.undo()
    with file.open("ab") as torn:
        torn.write(b'{"project_id":"ac')
    rows_before = len(file.read_bytes().splitlines()) - 1

    count = await export(exporting, "calls", file)

    assert 0 < rows_before < COUNT
    assert count == COUNT + 1
    assert file.read_bytes() == whole.read_bytes()
    assert not file.with_name(file.name + SUFFIX).exists()


async def test_refused_export_can_be_repeated(exporting: str, tmp_path: Path) -> None:
    file = tmp_path / "calls.ndjson"
    with pytest.raises(ExportError, match="sortBy"):
        await export(exporting, "calls", file, sortBy='[{"field": "x", "direction": "ASC"}]')

    count = await export(exporting, "calls", file)

    assert count == COUNT + 1
    assert files_in(tmp_path) == [file]


@pytest.mark.parametrize("rest", ["", '{"project_id":"ac'])
async def test_export_killed_at_the_start_starts_over(
    exporting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    file = tmp_path / "objects.ndjson"
    left: dict[Path, bytes] = {}

    def killed(_client: ExportClient, _concept: str, _parameters: object) -> Iterator[bytes]:
        left.update((path, path.read_bytes()) for path in tmp_path.iterdir())
        raise ExportError("killed")
        yield b""

    monkeypatch.setattr(ExportClient, "content", killed)
    with pytest.raises(ExportError, match="killed"):
        await export(exporting, "objects", file)
    monkeypatch.undo()
    for path, content in left.items():
        path.write_bytes(content)
    file.write_text(rest)

    assert await export(exporting, "objects", file) == 3
    assert len(lines(file)) == 4
    assert files_in(tmp_path) == [file]


async def test_existing_file_is_not_overwritten(exporting: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.ndjson"
    file.write_text("mine")

    with pytest.raises(ExportError, match="already exists"):
        await export(exporting, "threads", file)
    with pytest.raises(ExportError, match="already exists"):
        await export(exporting, "threads", file, format="parquet")

    assert file.read_text() == "mine"


def test_parquet_gets_its_final_name_when_complete(
    exporting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "feedback.parquet"

    code = main(["export", "feedback", str(file), "--project", PROJECT, "--url", exporting, "--format", "parquet"])

    assert code == 0
    # The message has no number: rows may be added between the count for the progress bar and the export.
    assert capsys.readouterr().out == f"Exported all feedback of {PROJECT} to {file}.\n"
    assert pq.ParquetFile(file).metadata.num_rows == 2
    assert files_in(tmp_path) == [file]


@pytest.mark.parametrize(
    ("url", "parameters", "part"),
    [
        ("http://127.0.0.1:1", {}, "no server answers"),
        ("http://me:secret@127.0.0.1:1", {}, r"no server answers at http://me:\*\*\*@127.0.0.1:1 "),
        ("ftp://me:secret@127.0.0.1", {}, r"^ftp://me:\*\*\*@127.0.0.1 is not the URL of a server"),
        (f"ftp://me:{'secret' * 50}@127.0.0.1", {}, r"^ftp://me:\*\*\*@127.0.0.1 is not the URL of a server"),
        ("http://127.0.0.1:port", {}, "is not the URL of a server"),
        ("http://127.0.0.1:0", {}, "is not the URL of a server"),
        ("http://[::1", {}, "is not the URL of a server"),
        ("", {"filter": "{"}, "filter: is not JSON"),
        ("", {"sortBy": '[{"field": "x", "direction": "ASC"}]'}, "sortBy.0.field"),
        ("", {"filter": '{"opName": ["a"]}'}, "opNames"),
    ],
)
async def test_failed_export_prints_the_reason_and_writes_nothing(
    exporting: str, tmp_path: Path, url: str, parameters: dict[str, str], part: str
) -> None:
    file = tmp_path / "calls.ndjson"

    with pytest.raises(ExportError, match=part):
        await export(url or exporting, "calls", file, **parameters)

    assert not files_in(tmp_path)
