"""Names of versions: a digest, an index such as `v3`, or `latest`."""

import re
from typing import Any, Final

from stores import times
from stores.errors import NotFoundError, ObjectDeletedError
from stores.objects.classes import OBJECT, OP
from stores.paging import Row

LATEST: Final = "latest"
NAMING: Final = ("digest", "version_index", "is_latest")

_INDEX: Final = re.compile(r"v([0-9]{1,18})")


def naming(version: str) -> tuple[str, object]:
    """Return the field, one of `NAMING`, and the value that identify the version."""
    if version == LATEST:
        return "is_latest", 1
    index = _INDEX.fullmatch(version)
    return ("version_index", int(index[1])) if index else ("digest", version)


def named(version: str) -> dict[str, Any]:
    """Build the filter of the version among the versions of its name."""
    return dict([naming(version)])


def chosen(rows: list[Row], object_id: str, noun: str) -> Row:
    """Choose between an object and an op of the same name and version: the object, even if it is deleted.

    Raises:
        ObjectDeletedError: the chosen version is deleted.
    """
    row = min(rows, key=lambda row: [OBJECT, OP].index(row["kind"]))
    if not row["visible"]:
        when = times.to_text(row["deleted_at"])
        name = f"{'Op ' if noun == OP else ''}{object_id}:v{row['version_index']}"
        raise ObjectDeletedError.since(when, f"{name} was deleted at {when}")
    return row


def not_found(object_id: str, version: str, noun: str, argument: str) -> NotFoundError:
    """Create the error for a version that does not exist."""
    return NotFoundError(f"{noun} {object_id[:128]}:{version[:64]} not found", argument)
