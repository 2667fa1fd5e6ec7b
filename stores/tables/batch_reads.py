"""Reads rows of many tables by position, with three commands per project."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stores.database import Collection, content_store
from stores.paging import Row
from stores.tables.chunks import read_chunks
from stores.tables.layout import Layout


@dataclass(frozen=True, slots=True)
class Span:
    """The positions from `low` up to, not including, `high`; the table must have all of them."""

    layout: Layout
    low: int
    high: int


async def read_layouts(tables: Collection, project_id: str, digests: Iterable[str]) -> dict[str, Layout]:
    """Read the tables that exist, by digest."""
    documents = content_store.find_each(tables, project_id, digests, {"_id": 0})
    return {row["digest"]: Layout(**row) async for row in documents}


async def read_spans(
    chunks: Collection, rows: Collection, project_id: str, spans: Sequence[Span], paths: Iterable[str]
) -> list[list[Row]]:
    """Return the rows of each span, with the given document paths; rows without content are left out."""
    names = [span.layout.chunks[number] for span in spans for number in _numbers(span)]
    members = await read_chunks(chunks, project_id, names) if names else {}
    digests_by_span = [_digests_of(span, members) for span in spans]
    wanted = {digest for each in digests_by_span for digest in each}
    projection = {"_id": 0, "digest": 1} | dict.fromkeys(paths, 1)
    rows_by_digest = {row["digest"]: row async for row in content_store.find_each(rows, project_id, wanted, projection)}
    return [
        [
            placed_row(rows_by_digest[digest], span.layout, at)
            for at, digest in enumerate(each, span.low)
            if digest in rows_by_digest
        ]
        for span, each in zip(spans, digests_by_span, strict=True)
    ]


def placed_row(row: Row, layout: Layout, at: int) -> Row:
    """Build the row at a position of a table from a row document."""
    position = {"id": at, "original_index": at, "project_id": layout.project_id, "table_digest": layout.digest}
    return row | position


def _numbers(span: Span) -> range:
    return span.layout.chunks_between(span.low, span.high) if span.low < span.high else range(0)


def _digests_of(span: Span, members: dict[str, list[str]]) -> list[str]:
    """Return the row digests of a span."""
    numbers = _numbers(span)
    if not numbers:
        return []
    start = span.layout.starts[numbers[0]]
    digests = [digest for number in numbers for digest in members.get(span.layout.chunks[number], ())]
    return digests[span.low - start : span.high - start]
