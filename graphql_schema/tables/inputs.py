"""What clients send about tables."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import optional_input, plain_field
from stores import tables as store


@strawberry.input(description="Which rows; what is empty or left out asks nothing.")
class TableRowFilter:
    """The filter of rows."""

    row_digests: list[str] | None = optional_input("The digests that they may have, at most 10,000.")

    def to_store(self) -> store.RowFilter:
        """The filter as the store takes it."""
        return store.RowFilter(self.row_digests)


@strawberry.input(description="A table. The same rows in the same order are the same table, however often it is sent.")
class TableSchemaForInsert:
    """A table."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    rows: list[JSON] = plain_field("The rows in order, each a JSON object; the same one may come more than once.")


@strawberry.input(description="A row to append.")
class TableAppendSpecPayload:
    """A row."""

    row: JSON = plain_field("The row, a JSON object.")


@strawberry.input(description="A row to take out.")
class TablePopSpecPayload:
    """An index."""

    index: int = plain_field("Its index, from 0, in the table as the updates before have left it.")


@strawberry.input(description="A row to insert.")
class TableInsertSpecPayload:
    """A row and an index."""

    index: int = plain_field("The index, from 0, that it will have; at most the number of rows.")
    row: JSON = plain_field("The row, a JSON object.")


@strawberry.input(description="One change to a table: exactly one of the three.", one_of=True)
class TableUpdateSpec:
    """A change."""

    append: TableAppendSpecPayload | None = strawberry.field(description="A row for the end.", default=strawberry.UNSET)
    pop: TablePopSpecPayload | None = strawberry.field(description="A row goes.", default=strawberry.UNSET)
    insert: TableInsertSpecPayload | None = strawberry.field(
        description="A row for any place.", default=strawberry.UNSET
    )

    def to_store(self) -> store.TableUpdate:
        """The change as the store takes it."""
        if self.append:
            return store.Append(self.append.row)
        if self.insert:
            return store.Insert(self.insert.index, self.insert.row)
        return store.Pop(self._pop().index)

    def _pop(self) -> TablePopSpecPayload:
        if not self.pop:
            raise TypeError("graphql-core lets exactly one of a @oneOf input's fields through")
        return self.pop
