"""Databases that several tests fill in one way: the first one does the work, and the others get its documents."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from stores.database import Database, Document

T = TypeVar("T")


class Filled(Generic[T]):
    """Documents that a function stores in a database, and what it returns."""

    def __init__(self, fill: Callable[[Database], Awaitable[T]]) -> None:
        self._fill = fill
        self._made: tuple[T, dict[str, list[Document]]] | None = None

    async def into(self, database: Database) -> T:
        """Fill a database."""
        collections = database.calls.database
        if self._made is None:
            result = await self._fill(database)
            names = await collections.list_collection_names()
            self._made = result, {name: await collections[name].find({}).to_list(None) for name in names}
            return result
        result, stored = self._made
        for name, documents in stored.items():
            if documents:
                await collections[name].insert_many(documents)
        return result
