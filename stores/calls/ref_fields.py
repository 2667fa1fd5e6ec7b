"""Field tables that follow refs: a path below an expanded column continues in the referenced object.

A ref must lead to an object or op of the project, as a whole, or to a row of the table in its `rows`. Everything below
any other value is null, as it is if the object is deleted or lacks the path. Nulls compare as in any other field.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from stores.calls.fields import CALL_FIELDS
from stores.calls.ref_expansion import Column
from stores.calls.ref_lookups import Collections, Lookup, Pipeline
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.syntax_tree import Operand, iter_gets, iter_text_gets

MAX_CONDITIONS: Final = 10
"""Fields behind refs per query."""


class RefFieldTable(FieldTable):
    """The fields of calls, plus those of referenced objects below expanded columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__(())
        self._columns = [(column.access, _looked_up(number)) for number, column in enumerate(columns)]
        self.paths: dict[Field, set[tuple[str, ...]]] = {}
        """The requested paths behind each column."""

    def _access(self, name: str) -> Access:
        return self._through(CALL_FIELDS[name])

    def _through(self, access: Access) -> Access:
        """Return the access behind the innermost column above it, or the access itself."""
        for column, behind in reversed(self._columns):
            steps = access.steps[len(column.steps) :]
            if column.field is access.field and steps and access.steps[: len(column.steps)] == column.steps:
                self.paths.setdefault(behind, set()).add(steps)
                return Access(behind, steps)
        return access

    def is_behind(self, access: Access) -> bool:
        """Return True if an access lies behind a ref."""
        return access.field in self.paths

    def lookups(self, collections: Collections, project_id: str, operation: Operand | None = None) -> Pipeline:
        """Build the stages that read the values behind refs, outer columns first, with the texts that the query needs.
        """
        of_texts = {get.access.field for get in iter_text_gets(operation)} if operation else ()
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
        """Count the fields of a query that lie behind refs."""
        return sum(self.is_behind(get.access) for get in iter_gets(operation))


def _looked_up(number: int) -> Field:
    """Return the field that receives the value referenced at a column."""
    name = f"_behind_{number}"
    return Field(name, name, Kind.JSON, text_path=f"{name}_text")
