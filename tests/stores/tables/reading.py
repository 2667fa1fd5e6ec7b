"""Helpers that read tables completely."""

import json
from typing import Any

from stores.paging import Page, PageRequest
from stores.tables import TablesStore

PROJECT = "acme/chat"


def values(page: Page) -> list[tuple[int, Any]]:
    """Return the positions and the rows of a page."""
    return [(row["original_index"], json.loads(row["json"]["val"])) for row in page.rows]


async def read_all(tables: TablesStore, digest: str, **options: Any) -> list[tuple[int, Any]]:
    """Return the positions and the rows of a table, in one page."""
    return values(await tables.page(PROJECT, digest, PageRequest(10_000), ["val"], **options))
