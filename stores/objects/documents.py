"""The document of a version: what is called by the digest, and what is known of its place among the others."""

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
"""What a value may take in BSON with its text and refs; what else a document holds has room in the 16 MiB."""

_LONG: Final = 256 * 1024
"""Characters of a value that is digested piece by piece."""


def name_key(project_id: str, kind: Kind, object_id: str) -> Document:
    """The fields that find all versions of a name."""
    return {"project_id": project_id, "kind": kind, "object_id": object_id}


def head_id(project_id: str, kind: Kind, object_id: str) -> str:
    """The `_id` of a name's head; neither a project id nor an object's name holds a colon."""
    return f"{project_id}:{kind}:{object_id}"


def version_id(project_id: str, kind: Kind, object_id: str, digest: str) -> str:
    """The `_id` of a version."""
    return ids.version_id(project_id, kind, object_id, digest)


def new_document(version: ObjectVersion, kind: Kind) -> Document:
    """The document of a checked version, but for its place among the others.

    Raises:
        PayloadTooLargeError: its value is too large for a document.
        BadInputError: its value goes beyond `json_bounds`, or a string in it uses the reserved scheme of refs.
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
    """Whether a value is so large, or so odd, that a thread had better make its document."""
    text = codec.encode_plain(value)
    return text is None or len(text) > _LONG


def _content(value: object) -> Document:
    text = codec.encode(value)
    is_long = len(text) > _LONG
    canonical = codec.canonical_in_pieces(value) if is_long else codec.canonical(value)
    found = list(dict.fromkeys(refs.collect(value)))
    content = {
        "digest": digests.text_digest(canonical),
        "size_bytes": len(canonical),
        "json": {"val": text},
        "val": to_bson(value),
        **({"refs": found} if found else {}),
    }
    size = len(bson_encode(content))
    if size > MAX_BYTES:
        raise PayloadTooLargeError(
            f"takes {size:,} bytes as stored (text, refs and what queries look into); the limit is {MAX_BYTES:,}. "
            "Keep rows in a table and large content in files, and refer to them"
        )
    return content


CONTENT: Final = ("json", "val", "refs", "size_bytes")
"""What a version loses when all versions of its name are deleted, and has again when it is made anew."""

EMPTY: Final[dict[str, Any]] = {"json": {"val": "{}"}, "val": {}, "size_bytes": 2}
