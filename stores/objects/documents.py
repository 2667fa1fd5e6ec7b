"""Documents of object versions: content, and position among the versions of the name."""

from typing import Any, Final

from bson import encode as bson_encode

from stores import digests, ids, refs, times
from stores.database import Document
from stores.errors import PayloadTooLargeError, StoreError
from stores.json import codec
from stores.json.bson_copy import to_bson
from stores.objects.classes import Kind
from stores.objects.inputs import ObjectVersion

MAX_BYTES: Final = 15_700_000
"""Limit on a value in BSON with its text and refs; it leaves room for the other fields within 16 MiB."""

_MAX_WHOLE: Final = 256 * 1024
"""A value with more characters is digested in pieces."""


def name_key(project_id: str, kind: Kind, object_id: str) -> Document:
    """Build the filter of all versions of a name."""
    return {"project_id": project_id, "kind": kind, "object_id": object_id}


def head_id(project_id: str, kind: Kind, object_id: str) -> str:
    """Return the `_id` of a name's head; project ids and object names contain no colon."""
    return f"{project_id}:{kind}:{object_id}"


def version_id(project_id: str, kind: Kind, object_id: str, digest: str) -> str:
    """Return the `_id` of a version."""
    return ids.version_id(project_id, kind, object_id, digest)


def new_document(version: ObjectVersion, kind: Kind) -> Document:
    """Build the document of a validated version, without its position among the versions.

    Raises:
        PayloadTooLargeError: the value is too large for a document.
        BadInputError: the value exceeds the JSON limits, or a string in it uses the reserved scheme of refs.
    """
    try:
        content = _content(version.val)
    except StoreError as error:
        raise error.prefixed("val") from None
    digest, project_id, object_id = content["digest"], version.project_id, version.object_id
    classes = version.classes
    return {
        "_id": version_id(project_id, kind, object_id, digest),
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


CONTENT: Final = ("json", "val", "refs", "size_bytes")
"""Fields that are cleared when all versions of a name are deleted, and set again when the version is created again."""

EMPTY: Final[dict[str, Any]] = {"json": {"val": "{}"}, "val": {}, "size_bytes": 2}
