"""The form that rows have outside: one JSON object a line, with the reference's own names, every key in every row.

JSON is spliced in as the text that is kept; times are ISO 8601 in UTC to the microsecond; what is null is null.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import orjson

from stores import times
from stores.json_fields import JsonField
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
    source: JsonField | None = None
    """What makes the text of a JSON column, if it is not just what is kept."""


class Columns:
    """The columns of one kind of rows, in their order."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in self.columns)
        self._times = tuple(column.name for column in self.columns if column.kind is Kind.TIME)
        json = [column for column in self.columns if column.kind is Kind.JSON]
        self._kept = tuple(column.name for column in json if column.source is None)
        self._made = {column.name: column.source for column in json if column.source}

    def values(self, row: Row) -> dict[str, Any]:
        """The values of a row by column, each as its kind says, None where there is none."""
        get = row.get
        found = {name: get(name) for name in self.names}
        texts = row.get("json") or {}
        for name in self._kept:
            found[name] = texts.get(name)
        for name, source in self._made.items():
            found[name] = source.text(row)
        return found

    def line(self, row: Row, cursor: str | None = None) -> bytes:
        """The row as a JSON object on a line of its own."""
        found = self.values(row)
        for name in self._times:
            if (micros := found[name]) is not None:
                found[name] = times.to_text(micros)
        for name in (*self._kept, *self._made):
            if (text := found[name]) is not None:
                found[name] = orjson.Fragment(text)
        if cursor is not None:
            found[CURSOR] = cursor
        return orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE)
