"""Files: content stored under its digest."""

from dataclasses import replace
from typing import Annotated
from urllib.parse import quote

import strawberry

from graphql_schema.context import Info
from graphql_schema.execution.scalars import Base64, BigInt, DateTime, Upload
from graphql_schema.fields import Node, ProjectId, argument, computed_field, found_or_null, node_ref, resolved_field
from graphql_schema.limits.cost_weights import COUNT
from stores.errors import BadInputError
from stores.files import FilesStats, NewFile, StoredFile, check_size
from stores.paging import Row
from stores.refs import file_ref

Digest = Annotated[str, argument("Digest of the file.")]


@strawberry.type
class FileCreateRes:
    """Result of `fileCreate`."""

    digest: str
    """Digest of the content, by which file finds it."""


@strawberry.type
class FileContentReadRes(Node):
    """Stored file."""

    # The source is `StoredFile.row`.

    ref: strawberry.ID = node_ref(file_ref)
    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    digest: str
    """Digest of the content."""
    name: str | None
    """Name under which the content was first stored; null if it has none."""
    size_bytes: BigInt
    """Size of the content in bytes."""
    content_type: str
    """Media type, detected from the first bytes; application/octet-stream if it is unknown, and for HTML, SVG and XML.
    """
    created_at: DateTime
    """Time when the content was first stored."""

    url = computed_field(lambda row: file_url(row["project_id"], row["digest"]), str)
    """Path on this server from which GET downloads the file, whole or by byte range."""

    @resolved_field()
    async def content(self, info: Info, parent: strawberry.Parent[Row]) -> Base64:
        """Content of at most 8 MiB, and 32 MiB in one response; download larger files from their url."""
        stored: StoredFile = parent["stored"]
        stored.check_readable()
        info.context.file_contents.reserve(stored.size_bytes)
        return Base64(await info.context.stores.files.read(stored))


@strawberry.type
class FilesStatsRes:
    """Number and size of a project's files."""

    # The source is `stores.files.FilesStats`.

    total_size_bytes: BigInt
    """Sum of the sizes in bytes, with each content counted once."""
    count: BigInt
    """Number of files."""


@strawberry.type
class FileQueries:
    """Query fields that read files."""

    @resolved_field(returns=FileContentReadRes | None)
    async def file(self, info: Info, project_id: ProjectId, digest: Digest) -> Row | None:
        """File with a digest; null if it is missing.

        Its content is read only if selected.
        """
        found = await found_or_null(info.context.stores.files.one(project_id, digest))
        return found.row if found else None

    @resolved_field(returns=FilesStatsRes, work=COUNT)
    async def files_stats(self, info: Info, project_id: ProjectId) -> FilesStats:
        """Number and size of a project's files."""
        return await info.context.stores.files.stats(project_id)


@strawberry.type
class FileMutations:
    """Mutation fields that write files."""

    @resolved_field()
    async def file_create(
        self,
        info: Info,
        project_id: ProjectId,
        name: str | None = None,
        content: Base64 | None = None,
        upload: Upload | None = None,
    ) -> FileCreateRes:
        """Storage of a file, once per content: as content in Base64, or as upload in a multipart request.

        Args:
            name: Name of at most 1,024 characters, such as photo.png; the name of the upload if omitted. Content that
                is already stored keeps its first name.
            content: Content in Base64, for small files.
            upload: File of a multipart request.
        """
        files, limit = info.context.stores.files, info.context.max_file_bytes
        if (content is None) == (upload is None):
            raise BadInputError("is required, or upload instead; send exactly one of the two", "content")
        if upload is not None:
            digest, _, _ = await files.create(project_id, upload.read(), upload.name if name is None else name, limit)
            return FileCreateRes(digest=digest)
        file = replace(NewFile.of(content or b""), name=name)
        check_size(file.size_bytes, limit)
        await files.create_all(project_id, [file])
        return FileCreateRes(digest=file.digest)


def file_url(project_id: str, digest: str) -> str:
    """Return the path of a file on the server."""
    return f"/files/{quote(project_id)}/{digest}"
