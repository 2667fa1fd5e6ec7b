"""Putting back versions that were made before, here or elsewhere: with their digests, indexes and times."""

from collections.abc import Sequence
from dataclasses import dataclass

from stores.concurrency.time_slices import cooperative
from stores.database import Document
from stores.errors import BadInputError, StoreError
from stores.objects import documents
from stores.objects.classes import OBJECT, Kind
from stores.objects.inputs import ObjectVersion

Name = tuple[str, Kind, str]
"""A project, the kind and the name of what all versions of one object share."""


@dataclass(slots=True)
class RestoredVersion:
    """A version as it was: `created_at` is in microseconds since the epoch."""

    version: ObjectVersion
    digest: str
    version_index: int
    is_latest: bool
    created_at: int

    def document(self) -> Document:
        """Its document, but for its place among the others.

        Raises:
            BadInputError: a field breaks its rule, or the digest is not that of the value.
            PayloadTooLargeError: the value does not fit into a document.
        """
        checked = self.version.checked()
        document = documents.new_document(checked, checked.kind or OBJECT)
        if document["digest"] != self.digest:
            raise BadInputError(f"{self.digest[:64]!r} is not that of val, which is {document['digest']}", "digest")
        return document | {"created_at": self.created_at}


async def by_name(batch: Sequence[RestoredVersion]) -> dict[Name, list[tuple[RestoredVersion, Document]]]:
    """The versions of each name with their documents, in order.

    Raises:
        StoreError: a version breaks a rule; the error names it as `batch.<position>`.
    """
    names: dict[Name, list[tuple[RestoredVersion, Document]]] = {}
    async for position, restored in cooperative(enumerate(batch)):
        try:
            document = restored.document()
        except StoreError as error:
            raise error.prefixed(f"batch.{position}") from None
        name = restored.version.project_id, document["kind"], restored.version.object_id
        names.setdefault(name, []).append((restored, document))
    return names
