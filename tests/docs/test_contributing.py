"""Tests that the contributors' page names files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "app" / "docs" / "contributing.md"
PATHS = sorted(set(re.findall(r"`((?:app|graphql_schema|stores|tests)/(?!NAME)[\w./-]+)`", PAGE.read_text())))
COMMANDS = re.findall(r"`pytest ([^`]+)`", PAGE.read_text())


def test_contributing_page_names_files() -> None:
    assert len(PATHS) > 80


@pytest.mark.parametrize("path", PATHS)
def test_named_file_or_folder_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_test_command_names_files_that_exist(command: str) -> None:
    for path in command.split("(", maxsplit=1)[0].split():
        assert (ROOT / path).exists()
