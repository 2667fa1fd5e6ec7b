"""Rows: JSON objects stored as documents that tables share; their filter and sort keys."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import bson

from stores import digests, refs
from stores.database import Database, Document, content_store
from stores.database.transactions import Session
from stores.errors import BadInputError, ErrorsAt, PayloadTooLargeError
from stores.input_checks import check_count
from stores.json import codec, paths
from stores.json.bson_copy import to_bson
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields
from stores.query.sort import SortBy

MAX_BYTES: Final = 16_000_000
"""Limit on a row in BSON."""

MAX_MEMBERS: Final = 10_000
"""Limit on the digests of a filter, so that it fits into one command."""

_DIGEST: Final = re.compile("[A-Za-z0-9]{43}")

_MAX_GROWTH: Final = 14
"""Maximum size of text and BSON copy together, as a multiple of the text."""

ROW_FIELDS: Final = FieldTable(
    [Field("digest", "digest", optional=False), Field("val", "val", Kind.JSON, text_path="json.val")]
)

INDEXED_ROW_FIELDS: Final = IndexedFields(ROW_FIELDS, "table_rows")
"""Fields of rows, none of which has an index: a condition or a sort reads all rows of a table."""

_READS: Final = {"val": "json.val", "digest": "digest", "size_bytes": "size_bytes"}


def paths_of(wanted: Iterable[str]) -> list[str]:
    """Return the document paths of the selected fields."""
    return [_READS[name] for name in wanted if name in _READS]


@dataclass(frozen=True, slots=True)
class RowContent:
    """A row to store: its value, exact text, and JSON size in bytes."""

    digest: str
    value: object
    text: str
    size_bytes: int

    @classmethod
    def of(cls, row: object, argument: str) -> Self:
        """Validate and digest a row.

        Raises:
            BadInputError: it is not a JSON object, exceeds the JSON limits, or uses the reserved scheme of refs.
            PayloadTooLargeError: it takes more than `MAX_BYTES` in BSON.
        """
        if not isinstance(row, dict):
            raise BadInputError('must be a JSON object such as {"question": "…"}', argument)
        with ErrorsAt(argument):
            text = codec.encode(row)
            if refs.INTERNAL_SCHEME in text:
                refs.collect(row)
        canonical = codec.canonical(row)
        content = cls(digests.text_digest(canonical), row, text, len(canonical))
        is_maybe_large = len(text) * _MAX_GROWTH > MAX_BYTES
        if is_maybe_large and (size := len(bson.encode(content.document("")))) > MAX_BYTES:
            raise PayloadTooLargeError(
                f"takes {size:,} bytes as stored (text and a copy for queries); the limit is {MAX_BYTES:,}. "
                "Keep large content elsewhere and send a reference to it",
                argument,
            )
        return content

    def document(self, project_id: str) -> Document:
        """Build the document of the row."""
        return {
            "_id": content_store.key(project_id, self.digest),
            "project_id": project_id,
            "digest": self.digest,
            "json": {"val": self.text},
            "val": to_bson(self.value),
            "size_bytes": self.size_bytes,
        }


async def sizes_of(
    database: Database, project_id: str, row_digests: Iterable[str], session: Session | None = None
) -> dict[str, int]:
    """Return the JSON sizes of stored rows in bytes, by digest."""
    projection = {"_id": 0, "digest": 1, "size_bytes": 1}
    documents = content_store.find_each(database.table_rows, project_id, row_digests, projection, session=session)
    return {row["digest"]: row["size_bytes"] async for row in documents}


def total_size(changes: Iterable[tuple[str, int]], sizes: Mapping[str, int], start: int = 0) -> int | None:
    """Add the sizes of rows, by digest and factor, to `start`; None if a size is unknown."""
    try:
        return start + sum(factor * sizes[digest] for digest, factor in changes)
    except KeyError:
        return None


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Filter of rows by digest; an empty list or None matches every row."""

    row_digests: list[str] | None = None

    def members(self) -> frozenset[str] | None:
        """Return the digests to match; None for all.

        Raises:
            BadInputError: there are more than `MAX_MEMBERS`.
        """
        if not self.row_digests:
            return None
        check_count(len(self.row_digests), MAX_MEMBERS, "members", "filter.row_digests")
        return frozenset(self.row_digests)


def check_row_digest(digest: str, argument: str) -> None:
    """Check the format of a row digest. With another format two lists of rows could have the same table digest.

    Raises:
        BadInputError: the format is wrong.
    """
    if not _DIGEST.fullmatch(digest):
        raise BadInputError(
            f"{digest[:64]!r} is not the digest of a row, which has 43 letters and digits; tableCreate returns them",
            argument,
        )


def sort_within_rows(sort_by: Sequence[SortBy]) -> list[SortBy]:
    """Convert sort keys within rows to fields of `val`.

    Raises:
        BadInputError: a path is empty, or one of its steps is blank.
    """
    for position, key in enumerate(sort_by):
        try:
            steps = paths.split(key.field)
        except BadInputError:
            steps = []
        if not steps or not all(step.strip() for step in steps):
            raise BadInputError(
                f"{key.field[:100]!r} is not a path into rows; use one such as question or usage.total_tokens",
                f"sort_by.{position}.field",
            )
    return [SortBy(f"val.{key.field}", key.descending) for key in sort_by]
