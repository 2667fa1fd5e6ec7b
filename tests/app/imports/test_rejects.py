"""Tests that rejects are written at little cost, and that a resumed import discards those after its last progress."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.imports import Rejects


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
    cut_off.close()
    meanwhile(cut_off.path)

    again = Rejects(source, tmp_path, kept)
    again.add(3, b"{c\n", "no JSON")
    again.close()

    found = again.path.read_bytes()
    assert [json.loads(line)["line"] for line in found.splitlines()] == lines
    assert again.path == tmp_path / "calls.jsonl.rejects.ndjson"


def test_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    open_file = Path.open

    def watched(path: Path, mode: str) -> object:
        opened.append(path)
        return open_file(path, mode)

    monkeypatch.setattr(Path, "open", watched)
    rejects = Rejects(tmp_path / "calls.jsonl", tmp_path, 0)
    for number in range(3):
        rejects.add(number, b"{a\n", "no JSON")
    size = rejects.size()
    rejects.close()

    assert opened == [rejects.path]
    assert rejects.path.stat().st_size == size > 0
