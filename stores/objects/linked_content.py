"""Content that the value of a version refers to: the table of a dataset's rows, and files."""

import re
from collections.abc import Mapping
from typing import Any, Final

from stores import refs

READS: Final = {"table": ("val.rows",), "files": ("val.files",)}
"""Document paths that these need, besides the version's identity."""

_CODE: Final = re.compile("%([0-9A-F]{2})")


def table_key(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return project id and digest of the table with a dataset's rows; None for other values."""
    text = _member(row, "rows")
    if not isinstance(text, str) or not text.startswith(f"{refs.SCHEME}{row['project_id']}/table/"):
        return None
    return (row["project_id"], refs.parse(text).name) if refs.is_ref(text) else None


def files_of(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return `name` and `digest` of the files of a custom-type value, such as an op's code."""
    files = _member(row, "files")
    if not isinstance(files, dict):
        return []
    return [
        {"project_id": row["project_id"], "name": _unescaped(name), "digest": digest}
        for name, digest in files.items()
        if isinstance(digest, str)
    ]


def _member(row: Mapping[str, Any], name: str) -> object:
    value = row.get("val")
    return value.get(name) if isinstance(value, dict) else None


def _unescaped(key: str) -> str:
    """Return a key as sent by the client, from its BSON copy (`stores.json.bson_copy`)."""
    return _CODE.sub(lambda code: chr(int(code[1], 16)), key)
