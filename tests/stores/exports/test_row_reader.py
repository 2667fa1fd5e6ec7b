"""Tests of the fields of imported rows: their types, and the rewriting of refs for another project."""

import pytest

from stores.errors import BadInputError
from stores.exports import CALL_COLUMNS, FEEDBACK_COLUMNS, OBJECT_COLUMNS, Columns, ImportedRow


@pytest.mark.parametrize(
    ("columns", "name", "value"),
    [
        (CALL_COLUMNS, "display_name", 1),
        (CALL_COLUMNS, "op_name", None),
        (CALL_COLUMNS, "op_name", 1),
        (CALL_COLUMNS, "wb_run_step", True),
        (CALL_COLUMNS, "wb_run_step", 1 << 63),
        (OBJECT_COLUMNS, "version_index", -1),
        (OBJECT_COLUMNS, "version_index", None),
        (CALL_COLUMNS, "ended_at", "noon"),
        (CALL_COLUMNS, "started_at", None),
        (FEEDBACK_COLUMNS, "call_ref", 1),
    ],
)
def test_field_of_the_wrong_type_is_named(columns: Columns, name: str, value: object) -> None:
    with pytest.raises(BadInputError) as refused:
        ImportedRow({name: value}, columns).values(name)

    assert refused.value.argument == name


def test_refs_into_the_source_project_are_rewritten() -> None:
    row = {
        "project_id": "a/b",
        "call_ref": "weave:///a/b/call/1",
        "trigger_ref": "weave:///a/bc/call/1",
        "weave_ref": "a/b",
        "creator": "weave:///a/b/call/1",
    }

    assert ImportedRow(row, FEEDBACK_COLUMNS).values(" ".join(row)) == row
    moved = row | {"project_id": "c/d", "call_ref": "weave:///c/d/call/1"}
    assert ImportedRow(row, FEEDBACK_COLUMNS, "c/d").values(" ".join(row)) == moved
