"""Tests that a resumed import discards rejects after its last progress, even if the file was removed or emptied."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.imports.side_files import Rejects


@pytest.mark.parametrize(
    ("meanwhile", "lines"),
    [
        (lambda _file: None, [1, 3]),
        (lambda file: file.unlink(), [3]),
        (lambda file: file.write_bytes(b""), [3]),
    ],
    ids=["left alone", "removed", "emptied"],
)
def test_rejects_after_the_last_progress_are_discarded(
    tmp_path: Path, meanwhile: Callable[[Path], object], lines: list[int]
) -> None:
    source = tmp_path / "calls.jsonl"
    cut_off = Rejects(source, tmp_path, 0)
    cut_off.add(1, b"{a\n", "no JSON")
    kept = cut_off.size()
    cut_off.add(2, b"{b\n", "no JSON")
    meanwhile(cut_off.path)

    again = Rejects(source, tmp_path, kept)
    again.add(3, b"{c\n", "no JSON")

    found = again.path.read_bytes()
    assert [json.loads(line)["line"] for line in found.splitlines()] == lines
    assert again.path == tmp_path / "calls.jsonl.rejects.ndjson"
