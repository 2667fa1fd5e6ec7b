"""Content values in the format of Weave's client: two files, and the value that replaces them in a call.

The first file has the content, the second the metadata that the client needs to restore it.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from stores.files import NewFile
from stores.json import codec

CONTENT_TYPE: Final = "weave.type_wrappers.Content.content.Content"
METADATA_NAME: Final = "metadata.json"

_IDS: Final = uuid.UUID("0e7a3f52-6a3b-4d0e-9f0a-5d0b6f1c7a21")


@dataclass(frozen=True, slots=True)
class WeaveContent:
    """Content with the metadata of its origin: `content_type`, `input_type` and encoding."""

    content: NewFile
    media_type: str
    filename: str
    extension: str
    content_type: str
    input_type: str
    encoding: str
    metadata: dict[str, object] | None = None

    def files(self) -> tuple[NewFile, NewFile]:
        """Build both files; equal content and metadata give equal files."""
        metadata = {
            "id": str(uuid.uuid5(_IDS, f"{self.media_type} {self.content.digest}")),
            "size": self.content.size_bytes,
            "mimetype": self.media_type,
            "digest": self.content.digest,
            "filename": self.filename,
            "content_type": self.content_type,
            "input_type": self.input_type,
            "encoding": self.encoding,
            "metadata": self.metadata,
            "extension": self.extension,
        }
        return self.content, NewFile.of(codec.encode(metadata).encode(), METADATA_NAME)


def value_of(content: NewFile, metadata: NewFile) -> dict[str, object]:
    """Build the value that represents both files in a call."""
    return {
        "_type": "CustomWeaveType",
        "weave_type": {"type": CONTENT_TYPE},
        "files": {"content": content.digest, METADATA_NAME: metadata.digest},
    }
