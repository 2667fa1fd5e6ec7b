"""JSON fields of rows: stored as text, parsed at most once per row."""

from dataclasses import dataclass
from typing import Final

from stores.json import codec, paths
from stores.paging import Row

_PARSED: Final = "parsed"
"""Row key that caches parsed values between reads."""


@dataclass(frozen=True)
class JsonField:
    """A field whose JSON text lies in the row under `json`."""

    name: str

    def text(self, row: Row) -> str | None:
        """Return the stored JSON text; None if the row has none."""
        texts: dict[str, str] | None = row.get("json")
        return texts.get(self.name) if texts else None

    def value(self, row: Row) -> object:
        """Return the parsed value, cached until `drop_parsed`. Callers must not change it."""
        parsed = row.setdefault(_PARSED, {})
        if self.name not in parsed:
            text = self.text(row)
            parsed[self.name] = None if text is None else codec.loads(text.encode())
        return parsed[self.name]

    def text_at(self, row: Row, path: str | None) -> str | None:
        """Return the JSON text at a dotted path, all of it without a path; None if the value is null.

        Raises:
            BadInputError: if the path has an empty key.
        """
        if not path:
            return self.text(row)
        value = paths.follow(self.value(row), paths.split(path))
        return None if value is None else codec.encode(value)


@dataclass(frozen=True)
class ValueField:
    """A field whose JSON value is an attribute of its source."""

    name: str

    def text(self, source: object) -> str | None:
        """Return the JSON text of the value; None if the value is None."""
        return self.text_at(source, None)

    def text_at(self, source: object, path: str | None) -> str | None:
        """Return the JSON text at a dotted path, all of it without a path; None if the value is null.

        Raises:
            BadInputError: if the path has an empty key.
        """
        value = getattr(source, self.name)
        if path:
            value = paths.follow(value, paths.split(path))
        return None if value is None else codec.encode(value)


def drop_parsed(row: Row) -> None:
    """Drop a row's parsed values, which take several times the memory of their texts."""
    row.pop(_PARSED, None)
