"""What evaluations say of themselves: their datasets, their scorers, and how often they try each example."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from stores import refs
from stores.database import Database
from stores.json import codec
from stores.refs.store import RefsStore
from stores.tables import TablesStore

Key = tuple[str, str]
"""A project and the ref of an evaluation."""

_MOST_TRIALS: Final = 2**31 - 1
"""What an Int of GraphQL holds; whoever means more means nothing."""


@dataclass(frozen=True, slots=True)
class Definition:
    """An evaluation: a ref to its dataset (or the dataset), refs to its scorers, and its number of trials."""

    dataset: object = None
    scorers: tuple[str, ...] = ()
    trials: int = 1

    @classmethod
    def of(cls, value: object) -> Self:
        """The definition in an evaluation's value, whatever that is."""
        if not isinstance(value, dict):
            return cls()
        scorers, trials = value.get("scorers"), value.get("trials")
        return cls(
            value.get("dataset"),
            tuple(filter(_is_ref, scorers)) if isinstance(scorers, list) else (),
            trials if isinstance(trials, int) and 0 < trials <= _MOST_TRIALS else 1,
        )

    @property
    def dataset_ref(self) -> str | None:
        """The ref to its dataset, if it is given by one."""
        return self.dataset if isinstance(self.dataset, str) and _is_ref(self.dataset) else None


class Definitions:
    """The evaluations of a database."""

    def __init__(self, database: Database) -> None:
        self._refs = RefsStore(database)
        self._tables = TablesStore(database)

    async def of(self, keys: Sequence[Key]) -> dict[Key, Definition]:
        """The definition of each evaluation; an empty one of what is deleted or not there."""
        found = await self._refs.by_refs(keys)
        return {key: Definition.of(_parsed(text)) for key, text in found.items()}

    async def count_rows(self, project_id: str, definition: Definition) -> int | None:
        """How many predictions a run of an evaluation makes; None where its dataset cannot be found."""
        dataset: Any = definition.dataset
        if definition.dataset_ref:
            key = project_id, definition.dataset_ref
            dataset = _parsed((await self._refs.by_refs([key]))[key])
        rows = dataset.get("rows") if isinstance(dataset, dict) else dataset
        count = len(rows) if isinstance(rows, list) else await self._count(project_id, rows)
        return None if count is None else count * definition.trials

    async def _count(self, project_id: str, rows: object) -> int | None:
        if not isinstance(rows, str) or not rows.startswith(f"{refs.SCHEME}{project_id}/table/") or not _is_ref(rows):
            return None
        stats = await self._tables.stats(project_id, [refs.parse(rows).name], ["count"])
        return int(stats[0]["count"]) if stats else None


def _is_ref(value: object) -> bool:
    return isinstance(value, str) and refs.is_ref(value)


def _parsed(text: str | None) -> object:
    return None if text is None else codec.loads(text.encode())
