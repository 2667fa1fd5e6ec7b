"""GraphQL inputs that filter rows and write tables."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import optional_input, plain_field
from stores import tables as store


@strawberry.input(description="Filter of rows; an empty or omitted list sets no condition.")
class TableRowFilter:
    """Filter of rows; `to_store` converts it to `stores.tables.RowFilter`."""

    row_digests: list[str] | None = optional_input("Digests of the rows, at most 10,000.")

    def to_store(self) -> store.RowFilter:
        """Convert to the filter of `stores.tables`."""
        return store.RowFilter(self.row_digests)


@strawberry.input(
    description="Table. The same rows in the same order are one table, no matter how often they are sent."
)
class TableSchemaForInsert:
    """Table to create."""

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    rows: list[JSON] = plain_field("Rows in order, each a JSON object; duplicates are allowed.")


@strawberry.input(description="Row to append.")
class TableAppendSpecPayload:
    """Row to append at the end."""

    row: JSON = plain_field("Row as a JSON object.")


@strawberry.input(description="Row to remove.")
class TablePopSpecPayload:
    """Index of the row to remove."""

    index: int = plain_field("Index of the row, from 0, after the preceding updates.")


@strawberry.input(description="Row to insert.")
class TableInsertSpecPayload:
    """Row to insert, and its index."""

    index: int = plain_field("Index of the new row, from 0 to the number of rows.")
    row: JSON = plain_field("Row as a JSON object.")


@strawberry.input(description="Change of a table: exactly one of append, pop and insert.", one_of=True)
class TableUpdateSpec:
    """Change of a table; graphql-core ensures that exactly one field is set."""

    append: TableAppendSpecPayload | None = strawberry.field(
        description="Row to append at the end.", default=strawberry.UNSET
    )
    pop: TablePopSpecPayload | None = strawberry.field(description="Row to remove.", default=strawberry.UNSET)
    insert: TableInsertSpecPayload | None = strawberry.field(
        description="Row to insert at an index.", default=strawberry.UNSET
    )

    def to_store(self) -> store.TableUpdate:
        """Convert to the update of `stores.tables`."""
        if self.append:
            return store.Append(self.append.row)
        if self.insert:
            return store.Insert(self.insert.index, self.insert.row)
        return store.Pop(self._pop().index)

    def _pop(self) -> TablePopSpecPayload:
        if not self.pop:
            raise TypeError("graphql-core accepts exactly one field of a @oneOf input")
        return self.pop
