"""The format of exported rows: one JSON object per line, with Weave's names and all keys in each row.

Stored JSON is spliced in as text; times are ISO 8601 in UTC with microseconds; missing values are null.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import orjson

from stores import times
from stores.paging import Row

CURSOR: Final = "_cursor"
"""Key of a row's cursor, if cursors are requested."""


class Kind(Enum):
    """The type of a column: text, integer, number, time in microseconds since the epoch, or JSON text."""

    TEXT = auto()
    INTEGER = auto()
    NUMBER = auto()
    TIME = auto()
    JSON = auto()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of exported rows; only `optional` columns may be null."""

    name: str
    kind: Kind = Kind.TEXT
    optional: bool = False
    source: Callable[[Row], Any] | None = None
    """Computes the value from a row (for JSON columns its text); None if the row has the value under `name`."""


class Columns:
    """The columns of one kind of rows, in order."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in self.columns)
        self._values = self._compile(_AS_STORED)
        self._members = self._compile(_AS_JSON)

    def values(self, row: Row) -> dict[str, Any]:
        """Return a row's values by column as stored, None if missing."""
        return self._values(row, row.get, row.get("json") or {})

    def line(self, row: Row, cursor: str | None = None) -> bytes:
        """Encode a row as a JSON object with a newline."""
        members = self._members(row, row.get, row.get("json") or {})
        if cursor is not None:
            members[CURSOR] = cursor
        return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)

    def _compile(self, forms: Mapping[Kind, str]) -> "_MakeDict":
        """Compile a function that turns a row into a dict; faster than a loop over columns, for millions of rows."""
        computed = {f"made_{index}": column.source for index, column in enumerate(self.columns) if column.source}
        sources = [_source(index, column) for index, column in enumerate(self.columns)]
        members = [
            f"{column.name!r}: {forms[column.kind].format(source)}"
            for column, source in zip(self.columns, sources, strict=True)
        ]
        # The evaluated names come from column definitions, never from input.
        function: _MakeDict = eval(  # noqa: S307
            f"lambda row, get, texts: {{{', '.join(members)}}}",
            {"time": times.to_text, "json": orjson.Fragment, **computed},
        )
        return function


_MakeDict = Callable[[Row, Callable[[str], Any], Mapping[str, str]], dict[str, Any]]
_AS_STORED: Final = dict.fromkeys(Kind, "{}")
_AS_JSON: Final = _AS_STORED | {
    Kind.TIME: "None if (value := {}) is None else time(value)",
    Kind.JSON: "None if (value := {}) is None else json(value)",
}


def _source(index: int, column: Column) -> str:
    if column.source:
        return f"made_{index}(row)"
    return f"texts.get({column.name!r})" if column.kind is Kind.JSON else f"get({column.name!r})"
