"""Rows of many tables at once, by their positions: in three commands for each project."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stores.database import Collection, content_store
from stores.paging import Row
from stores.tables.chunks import read_chunks
from stores.tables.layout import Layout


@dataclass(frozen=True, slots=True)
class Span:
    """The positions of a table from `low` up to but not `high`, all of which it has."""

    layout: Layout
    low: int
    high: int


async def read_layouts(tables: Collection, project_id: str, digests: Iterable[str]) -> dict[str, Layout]:
    """Those of some tables of a project that are there, by digest."""
    found = content_store.find_each(tables, project_id, digests, {"_id": 0})
    return {row["digest"]: Layout(**row) async for row in found}


async def read_spans(
    chunks: Collection, rows: Collection, project_id: str, spans: Sequence[Span], paths: Iterable[str]
) -> list[list[Row]]:
    """For each span the rows at its positions, with some paths; those whose content is not there are left out."""
    names = [span.layout.chunks[number] for span in spans for number in _numbers(span)]
    members = await read_chunks(chunks, project_id, names) if names else {}
    places = [_places(span, members) for span in spans]
    wanted = {digest for each in places for digest in each}
    projection = {"_id": 0, "digest": 1} | dict.fromkeys(paths, 1)
    found = {row["digest"]: row async for row in content_store.find_each(rows, project_id, wanted, projection)}
    return [
        [placed_row(found[digest], span.layout, at) for at, digest in enumerate(each, span.low) if digest in found]
        for span, each in zip(spans, places, strict=True)
    ]


def placed_row(row: Row, layout: Layout, at: int) -> Row:
    """A row's document as the row at a position of a table."""
    place = {"id": at, "original_index": at, "project_id": layout.project_id, "table_digest": layout.digest}
    return row | place


def _numbers(span: Span) -> range:
    return span.layout.chunks_between(span.low, span.high) if span.low < span.high else range(0)


def _places(span: Span, members: dict[str, list[str]]) -> list[str]:
    """The digests of the rows at a span's positions."""
    numbers = _numbers(span)
    if not numbers:
        return []
    start = span.layout.starts[numbers[0]]
    digests = [digest for number in numbers for digest in members.get(span.layout.chunks[number], ())]
    return digests[span.low - start : span.high - start]
