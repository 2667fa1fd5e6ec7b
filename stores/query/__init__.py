"""The query language: field tables, parsing, and compilation of filters and sorts for MongoDB."""

from dataclasses import dataclass
from typing import Any

from stores.query.fields import FieldTable
from stores.query.match_compiler import Match, compile_match
from stores.query.parser import Operation, parse_operation, parse_query


@dataclass(frozen=True, slots=True)
class Query:
    """A query as the client sent it: JSON with `$` operators under `$expr`, or bare operator names if `typed`."""

    tree: Any
    typed: bool = False

    def operation(self, table: FieldTable, argument: str = "query") -> Operation:
        """Parse the query, which is the value of an argument, into a syntax tree.

        Raises:
            BadInputError: if the tree is not a valid query over the table's fields; the error's argument is the JSON
                path.
        """
        if self.typed:
            return parse_operation(self.tree, table, f"{argument}.expr", "")
        return parse_query(self.tree, table, f"{argument}.json")

    def match(self, table: FieldTable) -> Match:
        """Compile the query into a MongoDB match.

        Raises:
            BadInputError: if the tree is not a valid query over the table's fields.
        """
        return compile_match(self.operation(table))


__all__ = ["Query"]
