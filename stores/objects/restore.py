"""Import of existing versions, with their digests, indexes and times."""

from collections.abc import Sequence
from dataclasses import dataclass

from stores.concurrency.time_slices import cooperative
from stores.database import Document
from stores.errors import BadInputError, StoreError
from stores.objects import documents
from stores.objects.classes import OBJECT, Kind
from stores.objects.inputs import ObjectVersion

Name = tuple[str, Kind, str]
"""Project id, kind and object name."""


@dataclass(slots=True)
class RestoredVersion:
    """An existing version; `created_at` is in microseconds since the epoch."""

    version: ObjectVersion
    digest: str
    version_index: int
    is_latest: bool
    created_at: int

    def document(self) -> Document:
        """Build the document, without its position among the versions.

        Raises:
            BadInputError: a field is invalid, or the digest does not match the value.
            PayloadTooLargeError: the value does not fit into a document.
        """
        checked = self.version.checked()
        document = documents.new_document(checked, checked.kind or OBJECT)
        if document["digest"] != self.digest:
            raise BadInputError(
                f"{self.digest[:64]!r} does not match val, whose digest is {document['digest']}", "digest"
            )
        return document | {"created_at": self.created_at}


async def by_name(batch: Sequence[RestoredVersion]) -> dict[Name, list[tuple[RestoredVersion, Document]]]:
    """Group versions by name with their documents, in order.

    Raises:
        StoreError: a version is invalid; the argument is `batch.<position>`.
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
