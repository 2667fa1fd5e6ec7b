"""Files: content by its digest."""

from dataclasses import replace
from typing import Annotated
from urllib.parse import quote

import strawberry

from graphql_schema.context import Info
from graphql_schema.fields import ProjectId, found_or_null, plain_field, resolved_field
from graphql_schema.fields.node_interface import Node, node_ref
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.scalars import Base64, BigInt, DateTime, Upload
from stores.errors import BadInputError
from stores.files import FilesStats, NewFile, StoredFile, check_size
from stores.paging import Row
from stores.refs import file_ref

Digest = Annotated[str, strawberry.argument(description="The file's digest.")]
Name = Annotated[
    str | None,
    strawberry.argument(
        description="A name, of at most 1,024 characters, such as photo.png; an upload's own if left out. "
        "The first name that a content was stored under stays."
    ),
]


@strawberry.type(description="A file that was stored.")
class FileCreateRes:
    """The digest."""

    digest: str = plain_field("The digest of its content, by which it is found.")


@strawberry.type(description="A file.")
class FileContentReadRes(Node):
    """A file; its source is `StoredFile.row`."""

    ref: strawberry.ID = node_ref(file_ref)
    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    digest: str = plain_field("The digest of its content.")
    name: str | None = plain_field("The name that it was first stored under; null if it has none.")
    size_bytes: BigInt = plain_field("How many bytes it has.")
    content_type: str = plain_field(
        "What its first bytes say that it is, as a media type; application/octet-stream if they say nothing, and for "
        "HTML, SVG and XML."
    )
    created_at: DateTime = plain_field("When it was first stored.")

    @resolved_field("Where it can be had whole or in parts by GET, as a path on this server.")
    def url(self, parent: strawberry.Parent[Row]) -> str:
        """Where it can be had."""
        return file_url(parent["project_id"], parent["digest"])

    @resolved_field("Its content, of at most 8 MiB, and 32 MiB in one answer; get more from the files' urls.")
    async def content(self, info: Info, parent: strawberry.Parent[Row]) -> Base64:
        """Its content."""
        stored: StoredFile = parent["stored"]
        stored.check_readable()
        info.context.file_contents.reserve(stored.size_bytes)
        return Base64(await info.context.stores.files.read(stored))


@strawberry.type(description="What a project's files take.")
class FilesStatsRes:
    """Numbers about files; the source is `stores.files.FilesStats`."""

    total_size_bytes: BigInt = plain_field("The sum of their sizes, each content counted once.")
    count: BigInt = plain_field("How many there are.")


@strawberry.type
class FileQueries:
    """The fields of Query that read files."""

    @resolved_field(
        "A file by its digest; null if there is none. Its content is read only when selected.",
        returns=FileContentReadRes | None,
    )
    async def file(self, info: Info, project_id: ProjectId, digest: Digest) -> Row | None:
        """A file."""
        found = await found_or_null(info.context.stores.files.one(project_id, digest))
        return found.row if found else None

    @resolved_field("How many files a project has, and what they take.", returns=FilesStatsRes, work=COUNT)
    async def files_stats(self, info: Info, project_id: ProjectId) -> FilesStats:
        """Numbers about files."""
        return await info.context.stores.files.stats(project_id)


@strawberry.type
class FileMutations:
    """The fields of Mutation that write files."""

    @resolved_field(
        "Store a file, once for each content: send it in Base64 as content, or as upload in a multipart request."
    )
    async def file_create(
        self,
        info: Info,
        project_id: ProjectId,
        name: Name = None,
        content: Annotated[Base64 | None, strawberry.argument(description="The content; for small files.")] = None,
        upload: Annotated[Upload | None, strawberry.argument(description="The file, as it is.")] = None,
    ) -> FileCreateRes:
        """Store a file."""
        files, limit = info.context.stores.files, info.context.max_file_bytes
        if (content is None) == (upload is None):
            raise BadInputError("is required, or upload instead of it; send one of the two", "content")
        if upload is not None:
            digest, _, _ = await files.create(project_id, upload.read(), upload.name if name is None else name, limit)
            return FileCreateRes(digest=digest)
        file = replace(NewFile.of(content or b""), name=name)
        check_size(file.size_bytes, limit)
        await files.create_all(project_id, [file])
        return FileCreateRes(digest=file.digest)


def file_url(project_id: str, digest: str) -> str:
    """The path of a file on the server."""
    return f"/files/{quote(project_id)}/{digest}"
