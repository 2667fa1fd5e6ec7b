"""Fixtures for the tests of imports."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from rich.console import Console

from app.commands.imports import run_import
from app.imports import Importing
from app.settings import Settings

Import = Callable[..., Awaitable[Importing]]


@pytest.fixture
def import_file(mongodb_uri: str, database_name: str) -> Import:
    """Return a function that imports a file into the test's database and returns the outcome."""

    async def run(source: Path, project_id: str | None = None) -> Importing:
        settings = Settings(mongodb_uri=mongodb_uri, mongodb_database=database_name)
        console = Console(file=io.StringIO())
        [outcome] = await asyncio.to_thread(run_import, settings, [source], project_id, None, console)
        return outcome

    return run
