"""Builders of versions with defaults: a test names only the fields that it checks."""

from dataclasses import replace
from typing import Any

from stores.objects import ObjectVersion
from tests.stores.calls.builders import PROJECT


def version(val: object = 0, **changes: Any) -> ObjectVersion:
    """Return a version of the object `prompt`."""
    return replace(ObjectVersion(project_id=PROJECT, object_id="prompt", val=val), **changes)
