"""What a version is made of beside its value: the table of its rows, and files, as its value names them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from stores import refs

READS: Final = {"table": ("val.rows",), "files": ("val.files",)}
"""What of a document, beside what tells the version, is read for them."""

_CODE: Final = re.compile("%([0-9A-F]{2})")


def table_key(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The project and digest of the table that the rows of a dataset are in; None of anything else."""
    text = _member(row, "rows")
    if not isinstance(text, str) or not text.startswith(f"{refs.SCHEME}{row['project_id']}/table/"):
        return None
    return (row["project_id"], refs.parse(text).name) if refs.is_ref(text) else None


def files_of(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """The files that a value of a type of its own consists of, such as an op's code: `name` and `digest` of each."""
    files = _member(row, "files")
    if not isinstance(files, dict):
        return []
    return [
        {"project_id": row["project_id"], "name": _plain(name), "digest": digest}
        for name, digest in files.items()
        if isinstance(digest, str)
    ]


def _member(row: Mapping[str, Any], name: str) -> object:
    value = row.get("val")
    return value.get(name) if isinstance(value, dict) else None


def _plain(key: str) -> str:
    """A key as it was sent, from what the mirror has of it (`stores.json.bson_copy.mirror_key`)."""
    return _CODE.sub(lambda code: chr(int(code[1], 16)), key)
