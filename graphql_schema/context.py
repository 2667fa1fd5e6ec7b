"""What resolvers stand on: the stores, and what a request may ask of them."""

from dataclasses import dataclass, field

import strawberry

from graphql_schema.loaders import Loaders
from stores.calls import CallsStore
from stores.database import Database
from stores.files import MAX_FILE_BYTES, FilesStore
from stores.objects import ObjectsStore
from stores.refs.store import RefsStore
from stores.tables import TablesStore


@dataclass(frozen=True, slots=True)
class Stores:
    """Every store, over one database."""

    calls: CallsStore
    files: FilesStore
    tables: TablesStore
    objects: ObjectsStore
    refs: RefsStore

    @classmethod
    def over(cls, database: Database) -> "Stores":
        """The stores of a database."""
        return cls(
            calls=CallsStore(database),
            files=FilesStore(database),
            objects=ObjectsStore(database),
            refs=RefsStore(database),
            tables=TablesStore(database),
        )

    async def close(self) -> None:
        """End what the stores keep going."""
        await self.calls.close()


@dataclass(frozen=True, slots=True)
class Context:
    """The context of one request."""

    stores: Stores
    max_page_size: int = 10_000
    max_file_bytes: int = MAX_FILE_BYTES
    loaders: Loaders = field(default_factory=Loaders)


Info = strawberry.Info[Context, None]
