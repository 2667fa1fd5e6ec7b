"""Tests of the fields of imported rows: their types, and the rewriting of refs for another project."""

from collections.abc import Callable

import pytest

from stores.errors import BadInputError
from stores.exports.row_reader import ImportedRow


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda fields: fields.text("number"), "number"),
        (lambda fields: fields.required_text("nothing"), "nothing"),
        (lambda fields: fields.integer("flag"), "flag"),
        (lambda fields: fields.integer("huge"), "huge"),
        (lambda fields: fields.required_index("minus"), "minus"),
        (lambda fields: fields.time("text"), "text"),
        (lambda fields: fields.required_time("nothing"), "nothing"),
        (lambda fields: fields.own_ref("number", optional=True), "number"),
    ],
)
def test_field_of_the_wrong_type_is_named(read: Callable[[ImportedRow], object], name: str) -> None:
    row = {"number": 1, "flag": True, "huge": 1 << 63, "minus": -1, "text": "noon", "nothing": None}

    with pytest.raises(BadInputError) as refused:
        read(ImportedRow(row))

    assert refused.value.argument == name


def test_refs_into_the_source_project_are_rewritten() -> None:
    row = {
        "project_id": "a/b",
        "own": "weave:///a/b/call/1",
        "near": "weave:///a/bc/call/1",
        "plain": "a/b",
    }
    fields, moved = ImportedRow(row), ImportedRow(row, "c/d")

    assert [fields.own_ref(name) for name in ("own", "near", "plain")] == [row["own"], row["near"], row["plain"]]
    assert [moved.own_ref(name) for name in ("own", "near", "plain")] == ["weave:///c/d/call/1", row["near"], "a/b"]
    assert (fields.text("project_id"), moved.text("project_id")) == ("a/b", "c/d")
