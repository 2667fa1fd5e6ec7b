"""Tests that an exported and imported project equals the original."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.commands.exports import run_export
from app.server.application import create_app
from app.settings import Settings
from graphql_schema.context import Stores
from stores.exports import CALL_COLUMNS
from stores.feedback import NewFeedback
from stores.paging import PageRequest
from tests.app.exported_project import COUNT
from tests.app.imports.conftest import Import
from tests.live_server import live_server
from tests.stores.calls.builders import PROJECT, call_id, end

CONCEPTS = ("objects", "calls", "feedback", "threads")
COPY = "acme/copy"


@pytest.fixture
async def copying(mongodb_uri: str, database_name: str) -> AsyncIterator[str]:
    """Yield the address of a server on the test's own database."""
    with live_server(create_app(Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name))) as host:
        yield f"http://{host}"


async def exported(url: str, folder: Path, project_id: str = PROJECT) -> dict[str, Path]:
    """Export each list of a project and return the files."""
    files = {concept: folder.with_name(f"{folder.name}-{concept}.ndjson") for concept in CONCEPTS}
    for concept, file in files.items():
        await asyncio.to_thread(run_export, url, concept, project_id, {}, file, Console(file=io.StringIO()))
    return files


def rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file without its last line."""
    return [json.loads(line) for line in file.read_text().splitlines()[:-1]]


async def test_repeated_import_into_an_empty_database_equals_the_export(
    exporting: str, copying: str, import_file: Import, tmp_path: Path
) -> None:
    originals = await exported(exporting, tmp_path / "originals")

    for _ in range(2):
        outcomes = {concept: await import_file(file) for concept, file in originals.items()}

    copies = await exported(copying, tmp_path / "copies")
    assert all(outcome.is_whole for outcome in outcomes.values())
    assert outcomes["calls"].progress.stored["calls"] == COUNT + 1
    normalised = {row["id"]: (row["kind"], row["tags"], row["finish_reasons"]) for row in rows(copies["calls"])}
    assert normalised[call_id(0)] == ("llm", ["a", "b"], ["stop"])
    assert normalised[call_id(3)] == ("llm", ["c"], ["length"])
    for concept in CONCEPTS:
        assert rows(copies[concept]) == rows(originals[concept])
        # Equal to the byte except for the last line, whose cursor belongs to another list.
        assert copies[concept].read_bytes().splitlines()[:-1] == originals[concept].read_bytes().splitlines()[:-1]


async def test_import_into_another_project_uses_its_name(
    exporting: str, copying: str, import_file: Import, tmp_path: Path
) -> None:
    originals = await exported(exporting, tmp_path / "originals")

    for file in originals.values():
        await import_file(file, COPY)

    copies = await exported(copying, tmp_path / "copies", COPY)
    for concept in CONCEPTS:
        moved = [row | {"project_id": COPY} for row in rows(originals[concept])]
        if concept == "feedback":
            moved = [row | {"weave_ref": row["weave_ref"].replace(PROJECT, COPY)} for row in moved]
        assert rows(copies[concept]) == moved


async def test_older_export_undoes_no_later_change(
    exporting: str, fresh: Stores, import_file: Import, tmp_path: Path
) -> None:
    originals = await exported(exporting, tmp_path / "originals")
    await import_file(originals["calls"])
    await import_file(originals["feedback"])
    wanted = ["id", "weave_ref", "feedback_type", "payload", "created_at"]
    noted, _ = (await fresh.feedback.page(PROJECT, PageRequest(), wanted)).rows
    await fresh.feedback.create([NewFeedback(PROJECT, noted["weave_ref"], "custom", {"n": 2}, noted["id"])])
    await fresh.calls.rename(PROJECT, call_id(0), "renamed")
    await fresh.calls.write([end(COUNT)])

    outcomes = [await import_file(originals[concept]) for concept in ("calls", "feedback")]

    calls = {row["id"]: row for row in (await fresh.calls.page(PROJECT, PageRequest(5_000), CALL_COLUMNS.names)).rows}
    again = {row["id"]: row for row in (await fresh.feedback.page(PROJECT, PageRequest(), wanted)).rows}
    assert all(outcome.is_whole for outcome in outcomes)
    assert calls[call_id(0)]["display_name"] == "renamed"
    assert calls[call_id(COUNT)]["status"] == "success"
    assert (again[noted["id"]]["feedback_type"], again[noted["id"]]["json"]["payload"]) == ("custom", '{"n":2}')
