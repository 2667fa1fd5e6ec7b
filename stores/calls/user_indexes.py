"""Indexes that operators add for their own paths into JSON, beside those that every installation has."""

import re
from dataclasses import dataclass
from typing import Any, Final, Self

from pymongo import ASCENDING

from stores.calls.fields import CALL_FIELDS
from stores.database import Database, database_query, database_write
from stores.errors import BadInputError, ConflictError
from stores.ids import check_project_id
from stores.query.fields import is_index

MAX_INDEXES: Final = 60
"""Indexes of all kinds on one collection. MongoDB takes 64; the rest is kept for versions of LoomQL to come."""

_PREFIX: Final = "path:"
_EVERY_PROJECT: Final = "*"
_CODE: Final = re.compile("%([0-9A-F]{2})")
_EXAMPLE: Final = "inputs.customer_id"


@dataclass(frozen=True, slots=True)
class UserIndex:
    """An index of one project's calls, or of all, by a place in their JSON; among equals, the oldest come first.

    `path` is the place as match language spells it.
    """

    project_id: str | None
    path: str

    @classmethod
    def of(cls, project_id: str | None, field: str) -> Self:
        """The index for a field as clients write it, such as `inputs.customer_id`.

        Raises:
            BadInputError: the project id is none, or no index can serve the field.
        """
        if not _is_unicode(f"{project_id}{field}"):
            raise BadInputError(f"{field!r} of {project_id!r} holds what is no Unicode text", "path")
        if project_id is not None:
            check_project_id(project_id)
        return cls(project_id, _path(field))

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The index of that name, or None if it is not one of these."""
        if not name.startswith(_PREFIX):
            return None
        project_id, _, path = name.removeprefix(_PREFIX).partition(":")
        return cls(None if project_id == _EVERY_PROJECT else project_id, path)

    @property
    def name(self) -> str:
        """The name in MongoDB; a project id holds no colon."""
        return f"{_PREFIX}{self.project_id or _EVERY_PROJECT}:{self.path}"

    @property
    def field(self) -> str:
        """The field as clients write it."""
        keys = [_CODE.sub(lambda code: chr(int(code[1], 16)), key) for key in self.path.split(".")]
        return ".".join(re.sub(r"([.\\])", r"\\\1", key) for key in keys)

    @property
    def scope(self) -> str:
        """Whose calls it is of, for people."""
        return f"in {self.project_id}" if self.project_id else "in all projects"

    @property
    def keys(self) -> list[tuple[str, int]]:
        """What it orders by."""
        return [(path, ASCENDING) for path in ("project_id", "visible", self.path, "started_at", "id")]

    @property
    def options(self) -> dict[str, Any]:
        """What else MongoDB must know of it."""
        only = {"partialFilterExpression": {"project_id": self.project_id}} if self.project_id else {}
        return {"name": self.name, **only}


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
            f"{field} has the step {digits}, which may be a key or a position in a list, and an index knows only keys",
            "path",
        )
    return access.path


def _is_unicode(text: str) -> bool:
    """Whether a text can go to MongoDB; what stands for bytes that are none in a command's arguments cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


class UserIndexes:
    """The indexes that operators made on the calls of a database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._calls = database.calls

    @database_write
    async def add(self, index: UserIndex) -> bool:
        """Build an index, however long it takes; False where it, or one of all projects, is there already.

        Raises:
            ConflictError: there are as many indexes as there may be.
        """
        there = await self._calls.index_information()
        if not there.keys().isdisjoint({index.name, UserIndex(None, index.path).name}):
            return False
        if len(there) >= MAX_INDEXES:
            raise ConflictError(f"there are {len(there)} indexes, as many as there may be; drop one to make room")
        await self._calls.create_index(index.keys, **index.options)
        return True

    @database_query
    async def sizes(self) -> dict[UserIndex, int]:
        """Every index with its bytes on disk, by project and path; those of all projects come first."""
        if not await self._calls.index_information():
            return {}
        stages: list[dict[str, Any]] = [
            {"$collStats": {"storageStats": {}}},
            {"$project": {"sizes": "$storageStats.indexSizes"}},
        ]
        found: dict[UserIndex, int] = {}
        async for shard in self._calls.aggregate(stages):
            for name, size in shard["sizes"].items():
                index = UserIndex.named(name)
                if index:
                    found[index] = found.get(index, 0) + size
        return dict(sorted(found.items(), key=lambda item: (item[0].project_id or "", item[0].path)))

    @database_write
    async def drop(self, index: UserIndex) -> None:
        """Take an index away.

        Raises:
            BadInputError: there is none for just this project, or all, and this path.
        """
        if index.name not in await self._calls.index_information():
            raise BadInputError(
                f"no index of {index.field} {index.scope} is there; `loomql index list` tells which are"
            )
        await self._calls.drop_index(index.name)
