"""Definitions of evaluations: dataset, scorers and number of trials, read from evaluation objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from stores import refs
from stores.database import Database
from stores.json import codec
from stores.refs.store import RefsStore
from stores.tables import TablesStore

Key = tuple[str, str]
"""Project id and ref of an evaluation."""

_MAX_TRIALS: Final = 2**31 - 1
"""Largest GraphQL Int. A larger number of trials is ignored as invalid."""


@dataclass(frozen=True, slots=True)
class Definition:
    """An evaluation: its dataset (a ref or a value), refs of its scorers, and trials per example."""

    dataset: object = None
    scorers: tuple[str, ...] = ()
    trials: int = 1

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Read the definition from an evaluation's value; invalid or missing fields get the defaults."""
        if not isinstance(value, dict):
            return cls()
        scorers, trials = value.get("scorers"), value.get("trials")
        return cls(
            value.get("dataset"),
            tuple(filter(_is_ref, scorers)) if isinstance(scorers, list) else (),
            trials if isinstance(trials, int) and 0 < trials <= _MAX_TRIALS else 1,
        )

    @property
    def dataset_ref(self) -> str | None:
        """The ref of the dataset; None if the evaluation contains the dataset itself."""
        return self.dataset if isinstance(self.dataset, str) and _is_ref(self.dataset) else None


class Definitions:
    """Reads definitions of evaluations from the database."""

    def __init__(self, database: Database) -> None:
        self._refs = RefsStore(database)
        self._tables = TablesStore(database)

    async def find(self, keys: Sequence[Key]) -> dict[Key, Definition]:
        """Return the definition of each evaluation; an empty definition if the object is missing or deleted."""
        texts = await self._refs.by_refs(keys)
        return {key: Definition.from_value(_parsed(text)) for key, text in texts.items()}

    async def count_rows(self, project_id: str, definition: Definition) -> int | None:
        """Count the predictions that a complete run makes; None if the dataset is missing."""
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
