"""How a version is named: by its digest, by its index as `v3`, or as `latest`."""

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
    """The field, one of `NAMING`, by which the name of a version finds it, and the field's value."""
    if version == LATEST:
        return "is_latest", 1
    index = _INDEX.fullmatch(version)
    return ("version_index", int(index[1])) if index else ("digest", version)


def named(version: str) -> dict[str, Any]:
    """The match, among the versions of a name, of the one that is called so."""
    return dict([naming(version)])


def chosen(rows: list[Row], object_id: str, noun: str) -> Row:
    """Of the rows of that name and version, one or two of different kinds: the object, even deleted, or the op.

    Raises:
        ObjectDeletedError: it is deleted.
    """
    row = min(rows, key=lambda row: [OBJECT, OP].index(row["kind"]))
    if not row["visible"]:
        when = times.to_text(row["deleted_at"])
        name = f"{'Op ' if noun == OP else ''}{object_id}:v{row['version_index']}"
        raise ObjectDeletedError.since(when, f"{name} was deleted at {when}")
    return row


def not_found(object_id: str, version: str, noun: str, argument: str) -> NotFoundError:
    """The error of a version that is not there."""
    return NotFoundError(f"{noun} {object_id[:128]}:{version[:64]} not found", argument)
