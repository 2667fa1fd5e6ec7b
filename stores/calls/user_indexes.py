"""Indexes on JSON paths of calls that operators add to the built-in ones."""

from dataclasses import dataclass
from typing import Any, Final, Self

from pymongo import ASCENDING

from stores.calls.fields import CALL_FIELDS
from stores.database import Database, database_query, long_database_write
from stores.errors import BadInputError, ConflictError
from stores.ids import check_project_id
from stores.json import paths
from stores.json.bson_copy import unescape_key
from stores.query.fields import is_index

MAX_INDEXES: Final = 60
"""Indexes of all kinds on one collection. MongoDB allows 64: a new version of LoomQL builds two indexes before it drops
those that they replace, and may need more of its own."""

_PREFIX: Final = "path:"
_EVERY_PROJECT: Final = "*"
_EXAMPLE: Final = "inputs.customer_id"


@dataclass(frozen=True, slots=True)
class UserIndex:
    """An index on a JSON path of calls, for one project or for all (`project_id` is None).

    `path` is spelled as in MongoDB's match language. Calls with equal values are in order of time, in either direction.
    """

    project_id: str | None
    path: str

    @classmethod
    def parse_field(cls, project_id: str | None, field: str) -> Self:
        """Return the index for a field as clients write it, such as `inputs.customer_id`.

        Raises:
            BadInputError: if the project id is invalid, or if no index can serve the field.
        """
        # Invalid bytes in command-line arguments become lone surrogates.
        if any("\ud800" <= character <= "\udfff" for character in f"{project_id}{field}"):
            raise BadInputError(f"{field!r} of {project_id!r} is not valid Unicode text", "path")
        if project_id is not None:
            check_project_id(project_id)
        return cls(project_id, _path(field))

    @classmethod
    def parse_name(cls, name: str) -> Self | None:
        """Parse an index name; None if the index is not a user index."""
        if not name.startswith(_PREFIX):
            return None
        project_id, _, path = name.removeprefix(_PREFIX).partition(":")
        return cls(None if project_id == _EVERY_PROJECT else project_id, path)

    @property
    def name(self) -> str:
        """The index's name in MongoDB; project ids contain no colon."""
        return f"{_PREFIX}{self.project_id or _EVERY_PROJECT}:{self.path}"

    @property
    def field(self) -> str:
        """The field as clients write it."""
        return paths.join(map(unescape_key, self.path.split(".")))

    @property
    def scope(self) -> str:
        """The index's scope as text for messages."""
        return f"in {self.project_id}" if self.project_id else "in all projects"


def _path(field: str) -> str:
    try:
        access = CALL_FIELDS[field]
    except BadInputError as error:
        raise BadInputError(error.message, "path") from None
    if access.field.text_path is None:
        raise BadInputError(f"{field} needs no index of its own; name a path into JSON, such as {_EXAMPLE}", "path")
    if not access.steps:
        raise BadInputError(f"{field} is a whole payload; name a path inside, such as {_EXAMPLE}", "path")
    if access.path is None:
        digits = next(step for step in access.steps if is_index(step))
        raise BadInputError(
            f"{field} has the step {digits}, which may be a key or a list index; indexes support only keys", "path"
        )
    return access.path


class UserIndexes:
    """The indexes that operators added to the calls of a database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._calls = database.calls

    @long_database_write
    async def add(self, index: UserIndex) -> bool:
        """Build an index and wait for it; False if it exists already, or if one for all projects does.

        Raises:
            ConflictError: if the collection has `MAX_INDEXES` indexes.
        """
        existing = await self._calls.index_information()
        if not existing.keys().isdisjoint({index.name, UserIndex(None, index.path).name}):
            return False
        if len(existing) >= MAX_INDEXES:
            raise ConflictError(f"there are {len(existing)} indexes, the limit is {MAX_INDEXES}; drop one first")
        keys = [(path, ASCENDING) for path in ("project_id", "visible", index.path, "started_at", "id")]
        only: dict[str, Any] = {}
        if index.project_id:
            only = {"partialFilterExpression": {"project_id": index.project_id}}
        await self._calls.create_index(keys, name=index.name, **only)
        return True

    @database_query
    async def sizes(self) -> dict[UserIndex, int]:
        """Return each index's size on disk in bytes, sorted by project and path; those for all projects come first."""
        if not await self._calls.index_information():
            return {}
        stages: list[dict[str, Any]] = [
            {"$collStats": {"storageStats": {}}},
            {"$project": {"sizes": "$storageStats.indexSizes"}},
        ]
        sizes: dict[UserIndex, int] = {}
        async for shard in self._calls.aggregate(stages):
            for name, size in shard["sizes"].items():
                index = UserIndex.parse_name(name)
                if index:
                    sizes[index] = sizes.get(index, 0) + size
        return dict(sorted(sizes.items(), key=lambda item: (item[0].project_id or "", item[0].path)))

    @long_database_write
    async def drop(self, index: UserIndex) -> None:
        """Drop an index.

        Raises:
            BadInputError: if there is no index for exactly this project, or for all projects, and this path.
        """
        if index.name not in await self._calls.index_information():
            raise BadInputError(
                f"there is no index on {index.field} {index.scope}; `loomql index list` shows the indexes"
            )
        await self._calls.drop_index(index.name)
