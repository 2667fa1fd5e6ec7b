"""Templates of messages: texts with placeholders such as {question}, filled in with what a row has.

They are written like Python's format strings, of which only what looks into JSON is understood: {name}, {name.key} and
{name[key]}, with {{ and }} for braces. Attributes of Python's objects are out of reach, and so are formats.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.json import codec

MAX_CHARACTERS: Final = 10_000_000
"""Of a text that was filled in: a placeholder may stand in it often, and a value may be long."""

MAX_PIECES: Final = 20_000
"""Placeholders and doubled braces of one text, with what stands between them."""

_PIECE: Final = re.compile(
    r"(?P<text>[^{}]+)|(?P<brace>\{\{|\}\})|\{(?P<name>[^{}\[\].!:\"'\s][^{}\[\].!:\"']*)(?P<steps>(?:\.[^{}\[\].!:]+|\[[^{}\[\]]+\])*)\}"
)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[([^\[\]]+)\]")
_LISTED: Final = 20
_SHOWN: Final = 40


class RowError(Exception):
    """What a row, a model or a scorer made impossible for one row; the message is safe to show."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A place for a value, or for what lies inside it at some keys and indexes."""

    name: str
    steps: tuple[str, ...] = ()

    def text(self, values: Mapping[str, Any]) -> str:
        """The value's text: a string as it is, anything else as JSON.

        Raises:
            RowError: there is no such value.
        """
        if self.name not in values:
            known = ", ".join(list(values)[:_LISTED]) or "none"
            raise RowError(f"Nothing is there for the placeholder {self}; the row has {known}")
        value = values[self.name]
        for step in self.steps:
            value = self._inner(value, step)
        return value if isinstance(value, str) else codec.encode(value)

    def _inner(self, value: object, step: str) -> object:
        if isinstance(value, dict) and step in value:
            return value[step]
        if isinstance(value, list) and step.isdecimal() and len(step) < _LISTED and int(step) < len(value):
            return value[int(step)]
        raise RowError(f"Nothing is there for the placeholder {self}: it leads nowhere at {step[:_SHOWN]!r}")

    def __str__(self) -> str:
        return "{" + "".join([self.name, *(f"[{step}]" for step in self.steps)])[: 2 * _SHOWN] + "}"


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders."""

    pieces: tuple[str | Placeholder, ...]

    @classmethod
    def of(cls, text: str) -> "Template":
        """The template that a text is.

        Raises:
            BadInputError: a brace in it is neither part of a placeholder nor written twice, or there are too many.
        """
        pieces: list[str | Placeholder] = []
        at = 0
        while at < len(text):
            found = _PIECE.match(text, at)
            if not found:
                raise BadInputError(
                    f"{text[at : at + _SHOWN]!r} is no placeholder such as {{question}}; "
                    "write a brace that is meant as one twice, {{ or }}"
                )
            if len(pieces) == MAX_PIECES:
                raise BadInputError(f"there are more than {MAX_PIECES:,} placeholders, braces and texts between them")
            pieces.append(_piece(found))
            at = found.end()
        return cls(tuple(pieces))

    def fill(self, values: Mapping[str, Any]) -> str:
        """The text, with the values in their places.

        Raises:
            RowError: a value is not there, or the text gets longer than `MAX_CHARACTERS`.
        """
        texts: list[str] = []
        left = MAX_CHARACTERS
        for piece in self.pieces:
            text = piece if isinstance(piece, str) else piece.text(values)
            left -= len(text)
            if left < 0:
                raise RowError(f"The message has more than {MAX_CHARACTERS:,} characters once it is filled in")
            texts.append(text)
        return "".join(texts)


def _piece(found: re.Match[str]) -> str | Placeholder:
    if found["text"]:
        return found["text"]
    if found["brace"]:
        return found["brace"][0]
    steps = (key or index for key, index in _STEP.findall(found["steps"]))
    return Placeholder(found["name"], tuple(steps))
