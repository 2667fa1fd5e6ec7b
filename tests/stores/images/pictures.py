"""Images and responses in the form that providers send."""

import base64
from typing import Any

from app.demo.traces import bar_chart
from stores import digests

CHART = bar_chart([3, 1, 2])
OTHER = bar_chart([1, 5])
DIGEST = digests.bytes_digest(CHART)


def encoded(content: bytes = CHART) -> dict[str, Any]:
    """Return a response's entry with an image in Base64."""
    return {"b64_json": base64.b64encode(content).decode()}


def answer(*entries: Any, **more: Any) -> dict[str, Any]:
    """Return a provider's response."""
    return {"created": 1_760_000_000, "data": list(entries), **more}


def value(digest: str, metadata_digest: str) -> dict[str, Any]:
    """Return the value that replaces an image in a call, as Weave's client writes it."""
    return {
        "_type": "CustomWeaveType",
        "weave_type": {"type": "weave.type_wrappers.Content.content.Content"},
        "files": {"content": digest, "metadata.json": metadata_digest},
    }
