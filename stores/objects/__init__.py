"""Objects and ops: named values in immutable versions, each identified by the digest of its content."""

from stores.objects.filters import ObjectsFilter
from stores.objects.inputs import ObjectVersion
from stores.objects.store import ObjectsStore

__all__ = ["ObjectVersion", "ObjectsFilter", "ObjectsStore"]
