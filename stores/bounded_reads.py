"""Reads that end early where their rows hold much: what is in memory at once is bounded, however large rows are."""

from typing import Final

from motor.motor_asyncio import AsyncIOMotorCommandCursor

from stores.database import Collection, Document
from stores.transactions import Session
from stores.whole_reads import AT_ONE_MOMENT, Stages

_READ_ON: Final = 64
"""Rows that are taken out of what came before one looks at how large they are."""


async def rows_up_to(
    collection: Collection, stages: Stages, batch_size: int, max_characters: int, session: Session | None
) -> tuple[list[Document], bool]:
    """The rows until they hold so many characters of JSON text; and whether there are more, of which one comes, too."""
    steady = collection.with_options(read_concern=AT_ONE_MOMENT)
    found = steady.aggregate(list(stages), session=session, allowDiskUse=True, batchSize=batch_size)
    try:
        return await _until(found, max_characters)
    finally:
        await found.close()


async def _until(found: AsyncIOMotorCommandCursor[Document], max_characters: int) -> tuple[list[Document], bool]:
    """The rows until there is so much in them; each time at most as many more as there are, as they may be large."""
    rows: list[Document] = []
    characters = 0
    while characters < max_characters:
        more = await found.to_list(min(len(rows) + 1, _READ_ON))
        if not more:
            return rows, False
        rows += more
        characters += sum(map(json_characters, more))
    one_more = await found.to_list(1)
    return rows + one_more, bool(one_more)


def json_characters(row: Document) -> int:
    """How much JSON text a row holds."""
    return sum(map(len, row["json"].values())) if "json" in row else 0
