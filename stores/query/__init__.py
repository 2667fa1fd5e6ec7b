"""What clients ask, made into MongoDB's terms: fields, queries and sorts, the same for every collection."""

from dataclasses import dataclass
from typing import Any

from stores.query.fields import FieldTable
from stores.query.match_compiler import Match, compile_match
from stores.query.parser import parse_operation, parse_query
from stores.query.syntax_tree import Operation


@dataclass(frozen=True, slots=True)
class Query:
    """A query as a client sent it: a tree in JSON with `$expr`, or one with bare names if it is `typed`."""

    tree: Any
    typed: bool = False

    def operation(self, table: FieldTable) -> Operation:
        """What it says of a collection's fields.

        Raises:
            BadInputError: it says nothing that makes sense of them; the error leads to the place.
        """
        if self.typed:
            return parse_operation(self.tree, table, "query.expr", "")
        return parse_query(self.tree, table, "query.json")

    def match(self, table: FieldTable) -> Match:
        """The match of the documents for which it holds.

        Raises:
            BadInputError: it makes no sense of the collection's fields.
        """
        return compile_match(self.operation(table))


__all__ = ["Query"]
