"""Message templates: texts with placeholders such as {question}, filled in from a row.

The syntax is a subset of Python's format strings: {name}, {name.key} and {name[key]}, with {{ and }} for braces. Keys
only select JSON values; Python attributes and format specifications are not supported.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.json import codec

MAX_CHARACTERS: Final = 10_000_000
"""Limit on a filled-in text, because a placeholder may repeat and its value may be long."""

MAX_PIECES: Final = 20_000
"""Limit on the placeholders, doubled braces and texts of one template."""

_PIECE: Final = re.compile(
    r"(?P<text>[^{}]+)|(?P<brace>\{\{|\}\})|\{(?P<name>[^{}\[\].!:\"'\s][^{}\[\].!:\"']*)(?P<steps>(?:\.[^{}\[\].!:]+|\[[^{}\[\]]+\])*)\}"
)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([^\[\]]+)\]")
_MAX_LISTED: Final = 20
_MAX_SHOWN: Final = 40


class RowError(Exception):
    """A row, model or scorer failed for one row; the message is safe to show."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A placeholder for a value, or for a value inside it selected by keys and indexes."""

    name: str
    steps: tuple[str, ...] = ()

    def text(self, values: Mapping[str, Any]) -> str:
        """Return the value's text: a string unchanged, any other value as JSON.

        Raises:
            RowError: the value is missing.
        """
        if self.name not in values:
            known = ", ".join(list(values)[:_MAX_LISTED]) or "none"
            raise RowError(f"There is no value for the placeholder {self}; the row has {known}")
        value = values[self.name]
        for step in self.steps:
            value = self._inner(value, step)
        return value if isinstance(value, str) else codec.encode(value)

    def _inner(self, value: object, step: str) -> object:
        if isinstance(value, dict) and step in value:
            return value[step]
        if isinstance(value, list) and step.isdecimal() and len(step) < _MAX_LISTED and int(step) < len(value):
            return value[int(step)]
        raise RowError(f"There is no value for the placeholder {self}: nothing is at {step[:_MAX_SHOWN]!r}")

    def __str__(self) -> str:
        return "{" + "".join([self.name, *(f"[{step}]" for step in self.steps)])[: 2 * _MAX_SHOWN] + "}"


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text with placeholders."""

    pieces: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Parse a template.

        Raises:
            BadInputError: a brace is neither part of a placeholder nor doubled, or there are too many pieces.
        """
        pieces: list[str | Placeholder] = []
        position = 0
        while position < len(text):
            match = _PIECE.match(text, position)
            if not match:
                raise BadInputError(
                    f"{text[position : position + _MAX_SHOWN]!r} is not a placeholder such as {{question}}; "
                    "double a literal brace, {{ or }}"
                )
            if len(pieces) == MAX_PIECES:
                raise BadInputError(f"it has more than {MAX_PIECES:,} placeholders, braces and texts between them")
            pieces.append(_piece(match))
            position = match.end()
        return cls(tuple(pieces))

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the text with the placeholders replaced by values.

        Raises:
            RowError: a value is missing, or the text is longer than `MAX_CHARACTERS`.
        """
        texts: list[str] = []
        remaining = MAX_CHARACTERS
        for piece in self.pieces:
            text = piece if isinstance(piece, str) else piece.text(values)
            remaining -= len(text)
            if remaining < 0:
                raise RowError(f"The filled-in message is longer than {MAX_CHARACTERS:,} characters")
            texts.append(text)
        return "".join(texts)


def _piece(found: re.Match[str]) -> str | Placeholder:
    if found["text"]:
        return found["text"]
    if found["brace"]:
        return found["brace"][0]
    steps = (key or index for key, index in _STEP.findall(found["steps"]))
    return Placeholder(found["name"], tuple(steps))
