"""Objects and ops: named values in immutable versions, each identified by the digest of its content."""

from stores.objects.documents import ObjectVersion
from stores.objects.store import ObjectsFilter, ObjectsStore

__all__ = ["ObjectVersion", "ObjectsFilter", "ObjectsStore"]
