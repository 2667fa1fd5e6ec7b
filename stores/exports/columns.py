"""The form that rows have outside: one JSON object a line, with the reference's own names, every key in every row.

JSON is spliced in as the text that is kept; times are ISO 8601 in UTC to the microsecond; what is null is null.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import orjson

from stores import times
from stores.paging import Row

CURSOR: Final = "_cursor"
"""The key under which a row has its cursor, where these are asked for."""


class Kind(Enum):
    """What a column holds: texts, integers, numbers, times in microseconds since the epoch, or JSON text."""

    TEXT = auto()
    INTEGER = auto()
    NUMBER = auto()
    TIME = auto()
    JSON = auto()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of exported rows; rows always have a value in it unless it is `optional`."""

    name: str
    kind: Kind = Kind.TEXT
    optional: bool = False
    source: Callable[[Row], Any] | None = None
    """Computes the value from a row, the text of a JSON column; None if the row holds the value under `name`."""


class Columns:
    """The columns of one kind of rows, in their order."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in self.columns)
        self._values = self._compiled(_AS_KEPT)
        self._members = self._compiled(_AS_JSON)

    def values(self, row: Row) -> dict[str, Any]:
        """The values of a row by column, each as its kind says, None where there is none."""
        return self._values(row, row.get, row.get("json") or {})

    def line(self, row: Row, cursor: str | None = None) -> bytes:
        """The row as a JSON object on a line of its own."""
        found = self._members(row, row.get, row.get("json") or {})
        if cursor is not None:
            found[CURSOR] = cursor
        return orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE)

    def _compiled(self, forms: Mapping[Kind, str]) -> "_Make":
        """What makes a dict of a row, written out column by column: an export has millions of them."""
        made = {f"made_{index}": column.source for index, column in enumerate(self.columns) if column.source}
        sources = [_source(index, column) for index, column in enumerate(self.columns)]
        members = [
            f"{column.name!r}: {forms[column.kind].format(source)}"
            for column, source in zip(self.columns, sources, strict=True)
        ]
        # The names are those of our own columns.
        function: _Make = eval(  # noqa: S307
            f"lambda row, get, texts: {{{', '.join(members)}}}",
            {"time": times.to_text, "json": orjson.Fragment, **made},
        )
        return function


_Make = Callable[[Row, Callable[[str], Any], Mapping[str, str]], dict[str, Any]]
_AS_KEPT: Final = dict.fromkeys(Kind, "{}")
_AS_JSON: Final = _AS_KEPT | {
    Kind.TIME: "None if (value := {}) is None else time(value)",
    Kind.JSON: "None if (value := {}) is None else json(value)",
}


def _source(index: int, column: Column) -> str:
    if column.source:
        return f"made_{index}(row)"
    return f"texts.get({column.name!r})" if column.kind is Kind.JSON else f"get({column.name!r})"
