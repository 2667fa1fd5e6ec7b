"""JSON fields of rows: read whole as the text that is kept, and parsed at most once for all that lies inside."""

from dataclasses import dataclass
from typing import Final

from stores.json import codec, paths
from stores.paging import Row

_PARSED: Final = "parsed"
"""Where a row keeps, beside its own fields, the values of its JSON while parts of them are asked for."""


@dataclass(frozen=True)
class JsonField:
    """A field whose JSON text rows hold under `json`."""

    name: str

    def text(self, row: Row) -> str | None:
        """The JSON text as it is kept, None where the row has none."""
        texts: dict[str, str] | None = row.get("json")
        return texts.get(self.name) if texts else None

    def value(self, row: Row) -> object:
        """The parsed value, the same one each time until `forget`; it must not be changed."""
        parsed = row.setdefault(_PARSED, {})
        if self.name not in parsed:
            text = self.text(row)
            parsed[self.name] = None if text is None else codec.loads(text.encode())
        return parsed[self.name]

    def text_at(self, row: Row, path: str | None) -> str | None:
        """The JSON text of what lies at a dotted path (all of it without one), None where that is null.

        Raises:
            BadInputError: the path has an empty key.
        """
        if not path:
            return self.text(row)
        value = paths.follow(self.value(row), paths.split(path))
        return None if value is None else codec.encode(value)


@dataclass(frozen=True)
class ValueField:
    """A field whose source has the JSON value itself as an attribute."""

    name: str

    def text(self, source: object) -> str | None:
        """The JSON text of the value, None where there is none."""
        return self.text_at(source, None)

    def text_at(self, source: object, path: str | None) -> str | None:
        """The JSON text of what lies at a dotted path (all of it without one), None where that is null.

        Raises:
            BadInputError: the path has an empty key.
        """
        value = getattr(source, self.name)
        if path:
            value = paths.follow(value, paths.split(path))
        return None if value is None else codec.encode(value)


def drop_parsed(row: Row) -> None:
    """Let go of a row's parsed values, which take several times the memory of their texts."""
    row.pop(_PARSED, None)
