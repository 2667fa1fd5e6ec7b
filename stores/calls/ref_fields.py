"""Queries and sorts that look through refs: a path below an expanded column goes on in the object that is there.

What is no ref to an object or op of the project, as a whole or to a row of the table that is its `rows`, leads to
nothing there: all below is null, as it is where the object is deleted or lacks it. Nulls are told by the same
two-valued logic as anywhere.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from stores.calls.fields import CALL_FIELDS
from stores.calls.ref_expansion import Column
from stores.calls.ref_lookups import Collections, Lookup, Pipeline
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.syntax_tree import Operand, gets, gets_of_texts

MAX_CONDITIONS: Final = 10
"""Fields of a query that lie behind refs."""


class RefFieldTable(FieldTable):
    """The fields of calls, and below expanded columns those of the objects that refs lead to there."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__(())
        self._columns = [(column.access, _looked_up(number)) for number, column in enumerate(columns)]
        self.paths: dict[Field, set[tuple[str, ...]]] = {}
        """The paths that were asked for behind each column."""

    def _access(self, name: str) -> Access:
        return self._through(CALL_FIELDS[name])

    def _through(self, access: Access) -> Access:
        """The place behind the innermost column that it is below, or itself."""
        for column, behind in reversed(self._columns):
            steps = access.steps[len(column.steps) :]
            if column.field is access.field and steps and access.steps[: len(column.steps)] == column.steps:
                self.paths.setdefault(behind, set()).add(steps)
                return Access(behind, steps)
        return access

    def is_behind(self, access: Access) -> bool:
        """Whether a place lies behind a ref."""
        return access.field in self.paths

    def lookups(self, collections: Collections, project_id: str, operation: Operand | None = None) -> Pipeline:
        """The stages that read what was asked for behind refs and the texts that a query needs, outer columns first."""
        of_texts = {get.access.field for get in gets_of_texts(operation)} if operation else ()
        origins: dict[Field, Access] = {}
        for column, behind in reversed(self._columns):
            if behind in self.paths:
                origins[behind] = self._through(column)
        stages = (
            Lookup(
                collections,
                project_id,
                origins[behind],
                behind.path,
                self.paths[behind],
                behind.text_path if behind in of_texts else None,
            ).stages
            for _, behind in self._columns
            if behind in origins
        )
        return list(chain.from_iterable(stages))

    def count(self, operation: Operand) -> int:
        """How many fields of a query lie behind refs."""
        return sum(self.is_behind(get.access) for get in gets(operation))


def _looked_up(number: int) -> Field:
    """Where the value of the object stands to which the ref at a column leads."""
    name = f"_behind_{number}"
    return Field(name, name, Kind.JSON, text_path=f"{name}_text")
