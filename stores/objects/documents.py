"""Object versions: their inputs, validated, their documents and names, and the content that values refer to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bson import encode as bson_encode

from stores import digests, ids, refs, times
from stores.database import Document
from stores.errors import BadInputError, ErrorsAt, ObjectDeletedError, PayloadTooLargeError
from stores.ids import LOCAL_USER
from stores.input_checks import MAX_NAME, check_length
from stores.json import codec
from stores.json.bson_copy import to_bson, unescape_key
from stores.objects import classes
from stores.objects.classes import OBJECT, OP, Classes, Kind, classes_of, kind_of
from stores.paging import Row

MAX_OBJECT_ID: Final = 128

_SIGNS: Final = r"\w.\-"
_OBJECT_ID: Final = re.compile(rf"[{_SIGNS}]{{1,{MAX_OBJECT_ID}}}")
_OTHER_SIGNS: Final = re.compile(rf"[^{_SIGNS}]+")


@dataclass(slots=True)
class ObjectVersion:
    """A version of an object: its name, and any JSON value.

    A value of a builtin class is validated and completed. `set_base_object_class` is the old name of that argument.
    """

    project_id: str
    object_id: str
    val: object
    builtin_object_class: str | None = None
    set_base_object_class: str | None = None
    wb_user_id: str | None = None
    kind: Kind | None = None
    classes: Classes | None = None
    is_large: bool = False
    """True if the document should be built in a thread."""

    @property
    def is_builtin(self) -> bool:
        """True if the value is validated as a builtin class."""
        return bool(self.builtin_object_class or self.set_base_object_class)

    def checked(self) -> "ObjectVersion":
        """Validate in place; set the value's classes, and its kind unless set.

        Raises:
            BadInputError: a field is invalid, or the value is invalid for its class; the error names the path.
        """
        ids.check_project_id(self.project_id)
        check_object_id(self.object_id)
        check_length(self.wb_user_id, MAX_NAME, "wb_user_id")
        self.val = self._completed_value()
        self.kind = self.kind or kind_of(self.val)
        self.classes = classes_of(self.val)
        self.wb_user_id = self.wb_user_id or LOCAL_USER
        return self

    def _completed_value(self) -> object:
        class_names = dict.fromkeys(name for name in (self.builtin_object_class, self.set_base_object_class) if name)
        if not class_names:
            return self.val
        if len(class_names) > 1:
            raise BadInputError("differs from builtinObjectClass; leave it out", "set_base_object_class")
        argument = "builtin_object_class" if self.builtin_object_class else "set_base_object_class"
        [name] = class_names
        return classes.completed(self.val, name, argument)


def check_object_id(object_id: str, argument: str = "object_id") -> None:
    """Check an object name.

    Raises:
        BadInputError: it is empty, too long, or has characters other than letters, digits, `.`, `_` and `-`.
    """
    if not _OBJECT_ID.fullmatch(object_id):
        raise BadInputError(
            f"{object_id[:64]!r} is not a valid object name; use 1 to {MAX_OBJECT_ID} letters, digits, dots, "
            "underscores and hyphens",
            argument,
        )


LATEST: Final = "latest"
NAMING: Final = ("digest", "version_index", "is_latest")
_INDEX: Final = re.compile(r"v([0-9]{1,18})")

MAX_BYTES: Final = 15_700_000
"""Limit on a value in BSON with its text and refs; it leaves room for the other fields within 16 MiB."""

_MAX_WHOLE: Final = 256 * 1024
"""A value with more characters is digested in pieces."""

CONTENT: Final = ("json", "val", "refs", "size_bytes")
"""Fields that are cleared when all versions of a name are deleted, and set again when the version is created again."""

EMPTY: Final[dict[str, Any]] = {"json": {"val": "{}"}, "val": {}, "size_bytes": 2}


def with_hyphens(name: str) -> str:
    """Return a name with hyphens for the characters that no object's name has."""
    return _OTHER_SIGNS.sub("-", name).strip("-")


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


def name_key(project_id: str, kind: Kind, object_id: str) -> Document:
    """Build the filter of all versions of a name."""
    return {"project_id": project_id, "kind": kind, "object_id": object_id}


def head_id(project_id: str, kind: Kind, object_id: str) -> str:
    """Return the `_id` of a name's head; project ids and object names contain no colon."""
    return f"{project_id}:{kind}:{object_id}"


def new_document(version: ObjectVersion, kind: Kind) -> Document:
    """Build the document of a validated version, without its position among the versions.

    Raises:
        PayloadTooLargeError: the value is too large for a document.
        BadInputError: the value exceeds the JSON limits, or a string in it uses the reserved scheme of refs.
    """
    with ErrorsAt("val"):
        content = _content(version.val)
    digest, project_id, object_id = content["digest"], version.project_id, version.object_id
    classes = version.classes
    return {
        "_id": ids.version_id(project_id, kind, object_id, digest),
        **name_key(project_id, kind, object_id),
        "id": f"{kind}/{object_id}:{digest}",
        **content,
        **({"base_object_class": classes.base, "leaf_object_class": classes.leaf} if classes else {}),
        "wb_user_id": version.wb_user_id,
        "created_at": times.now(),
    }


def takes_long(value: object) -> bool:
    """Return True if the value is large or unusual, so a thread should build its document."""
    text = codec.encode_plain(value)
    return text is None or len(text) > _MAX_WHOLE


def _content(value: object) -> Document:
    text = codec.encode(value)
    is_long = len(text) > _MAX_WHOLE
    canonical = codec.canonical_incrementally(value) if is_long else codec.canonical(value)
    ref_list = list(dict.fromkeys(refs.collect(value)))
    content = {
        "digest": digests.text_digest(canonical),
        "size_bytes": len(canonical),
        "json": {"val": text},
        "val": to_bson(value),
        **({"refs": ref_list} if ref_list else {}),
    }
    size = len(bson_encode(content))
    if size > MAX_BYTES:
        raise PayloadTooLargeError(
            f"takes {size:,} bytes as stored (text, refs and a copy for queries); the limit is {MAX_BYTES:,}. "
            "Keep rows in a table and large content in files, and refer to them"
        )
    return content


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
        {"project_id": row["project_id"], "name": unescape_key(name), "digest": digest}
        for name, digest in files.items()
        if isinstance(digest, str)
    ]


def _member(row: Mapping[str, Any], name: str) -> object:
    value = row.get("val")
    return value.get(name) if isinstance(value, dict) else None
