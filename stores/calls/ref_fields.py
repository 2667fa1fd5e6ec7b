"""Field tables that follow refs: a path below an expanded column continues in the referenced object.

A ref must lead to an object or op of the project, as a whole, or to a row of the table in its `rows`. Everything below
any other value is null, as it is if the object is deleted or lacks the path. Nulls compare as in any other field.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from stores.calls.fields import CALL_FIELDS
from stores.calls.ref_expansion import Column
from stores.calls.ref_lookups import Collections, Pipeline, RefLookup
from stores.query.fields import Access, Field, FieldTable, Kind
from stores.query.syntax_tree import Operand, iter_gets, iter_text_gets

MAX_CONDITIONS: Final = 10
"""Fields behind refs per query."""


class RefFieldTable(FieldTable):
    """The fields of calls, plus those of referenced objects below expanded columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__(())
        self._columns = [(column.access, _receiving_field(index)) for index, column in enumerate(columns)]
        self.requested: dict[Field, set[tuple[str, ...]]] = {}
        """The requested paths behind each column."""

    def _access(self, name: str) -> Access:
        return self._behind_refs(CALL_FIELDS[name])

    def _behind_refs(self, access: Access) -> Access:
        """Return the access behind the innermost column above it, or the access itself."""
        for column, behind in reversed(self._columns):
            steps = access.steps[len(column.steps) :]
            if column.field is access.field and steps and access.steps[: len(column.steps)] == column.steps:
                self.requested.setdefault(behind, set()).add(steps)
                return Access(behind, steps)
        return access

    def is_behind_ref(self, access: Access) -> bool:
        """Return True if an access lies behind a ref."""
        return access.field in self.requested

    def lookups(self, collections: Collections, project_id: str, operation: Operand | None = None) -> Pipeline:
        """Build the stages that read the values behind refs, outer columns first, with the needed texts."""
        with_texts = {get.access.field for get in iter_text_gets(operation)} if operation else ()
        origins: dict[Field, Access] = {}
        for column, behind in reversed(self._columns):
            if behind in self.requested:
                origins[behind] = self._behind_refs(column)
        stages = (
            RefLookup(
                collections,
                project_id,
                origins[behind],
                behind.path,
                self.requested[behind],
                behind.text_path if behind in with_texts else None,
            ).stages
            for _, behind in self._columns
            if behind in origins
        )
        return list(chain.from_iterable(stages))

    def count(self, operation: Operand) -> int:
        """Count the fields of a query that lie behind refs."""
        return sum(self.is_behind_ref(get.access) for get in iter_gets(operation))


def _receiving_field(number: int) -> Field:
    """Return the field that receives the value referenced at a column."""
    name = f"_behind_{number}"
    return Field(name, name, Kind.JSON, text_path=f"{name}_text")
