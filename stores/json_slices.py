"""JSON texts of megabytes, read slice by slice in a thread: parsed at once, they would hold everyone up.

A text is looked through for the brackets and commas that take it apart, and orjson parses one slice after the other.
So the members of a list can also be had one by one, each of which may be no JSON without the others being lost.
"""

import asyncio
import re
from array import array
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores import json_counts, json_text
from stores.errors import BadInputError, PayloadTooLargeError
from stores.json_bounds import MAX_DEPTH

SMALL: Final = 64 * 1024
"""Bytes that are parsed at once."""

UNCOUNTED: Final = 16 * 1024
"""Bytes of a request's text whose values are not counted: they take 0.5 MB at most."""

_DENSE: Final = 500_000
"""Values in a text that takes a fifth of a second to parse at once."""

MAX_VALUES: Final = 1_600_000
"""Values in one text, each of which takes some tens of bytes of memory; a document of MongoDB has room for fewer."""

MAX_MEMBERS: Final = 500_000
"""Members of a list that are had one by one."""

_TOKEN: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{},]')
"""A short string, the beginning of any other, or a sign that takes a text apart."""
_TOKEN_OR_COLON: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{},:]')
_BRACKET: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{}]')
_WINDOW: Final = 256 * 1024
"""How far one search goes: by a regular expression it lets no other thread in."""

_MOST_BETWEEN: Final = 256 * 1024
"""Bytes between two tokens, which can be nothing but blanks or a number beyond all bounds; they are parsed at once."""

_SPACE: Final = re.compile(rb"\s*")
_OPEN: Final = frozenset(b"[{")
_QUOTE, _COMMA, _COLON, _LIST, _BACKSLASH = b'",:[\\'

Text = bytes | bytearray


Reserve = Callable[[int], Awaitable[None]]
"""Reserves bytes of memory for a request, such as `Share.take`; it raises an error if there is no room."""


async def loads(
    text: Text, max_values: int = MAX_VALUES, span: tuple[int, int] | None = None, reserve: Reserve | None = None
) -> object:
    """Return the value of a JSON text, or of a span of it, as `json_text.loads` does; a thread parses a large one.

    `reserve` gets the bytes of memory that the value takes beyond those of ordinary JSON, before the text is parsed.

    Raises:
        BadInputError: the text is not JSON, or goes beyond `json_bounds`.
        PayloadTooLargeError: it has more than `max_values` values; it is not parsed then.
    """
    start, end = span or (0, len(text))
    await _admit(text, start, end, max_values, reserve)
    if end - start <= SMALL:
        return json_text.loads(bytes(memoryview(text)[start:end]))
    return await asyncio.to_thread(_loads, text, start, end)


async def loads_whole(text: Text, reserve: Reserve | None = None, max_values: int = MAX_VALUES) -> object:
    """Return the value of a request's JSON text, as `json_text.loads` does; a thread parses one of very many values.

    `reserve` gets the bytes of memory that the value takes beyond those of ordinary JSON, before the text is parsed.

    Raises:
        BadInputError: the text is not JSON, or goes beyond `json_bounds`.
        PayloadTooLargeError: it has more than `max_values` values; it is not parsed then.
    """
    if len(text) <= UNCOUNTED or await _admit(text, 0, len(text), max_values, reserve) <= _DENSE:
        return json_text.loads(text)
    return await asyncio.to_thread(_loads, text, 0, len(text))


async def _admit(text: Text, start: int, end: int, max_values: int, reserve: Reserve | None) -> int:
    """Hold a text to the limit of values, and reserve the memory that they take; return at most how many there are."""
    size = end - start
    counts = json_counts.upper_bound(text, start, end)
    if counts.values > max_values or (reserve and counts.excess_bytes(size)):
        # Strings may hold many of the signs that were counted.
        counts = (
            json_counts.exact(text, start, end)
            if size <= SMALL
            else await asyncio.to_thread(json_counts.exact, text, start, end)
        )
    if counts.values > max_values:
        raise PayloadTooLargeError(f"has more than {max_values:,} values; send fewer")
    if reserve and (excess := counts.excess_bytes(size)):
        await reserve(excess)
    return counts.values


def loads_in_slices(text: Text) -> object:
    """The same for whoever is in a thread already."""
    return _loads(text, 0, len(text))


def _loads(text: Text, start: int, end: int) -> object:
    reader = _Reader(text, start, end)
    for token in _tokens(text, start, end):
        reader.take(text[token.start()], token.start())
    return reader.finished()


def _tokens(text: Text, start: int, end: int) -> Iterator["re.Match[bytes]"]:
    """The tokens of a text, but for what is inside its strings."""
    seen = start
    while start < end:
        stop = min(start + _WINDOW, end)
        for token in _TOKEN.finditer(text, start, stop):
            yield token
            seen = token.end()
            if token[1] is None and text[token.start()] == _QUOTE:
                seen = stop = _end_of_string(text, token.start())
                break
        start = stop
        _check_gap(seen, start)


def _check_gap(start: int, end: int) -> None:
    if end - start > _MOST_BETWEEN:
        raise BadInputError(
            f"not JSON of any use: more than {_MOST_BETWEEN:,} blanks or digits stand together after byte {start:,}"
        )


def _end_of_string(text: Text, at: int) -> int:
    """Where a string ends that begins at a quote; found many times faster than by a regular expression."""
    end = at
    while (end := text.find(b'"', end + 1)) >= 0:
        before = end
        while text[before - 1] == _BACKSLASH:
            before -= 1
        if (end - before) % 2 == 0:
            return end + 1
    raise BadInputError(f"not JSON: the string at byte {at + 1:,} does not end")


def _is_blank(text: Text, start: int, end: int) -> bool:
    space = _SPACE.match(text, start, end)
    return space is not None and space.end() == end


@dataclass(slots=True)
class _Container:
    """A list or object that is open: where it began, its part that is not parsed yet, and what was parsed of it."""

    opened: int
    is_object: bool
    start: int
    member: int
    value: Any = None
    is_after_inner: bool = False

    def parse_up_to(self, text: Text, end: int) -> None:
        """Parse what there is up to a comma, or to the end of the container."""
        is_blank = _is_blank(text, self.start, end)
        if self.is_after_inner or is_blank:
            if not is_blank or not self.is_after_inner:
                raise BadInputError(f"not JSON: there is no value before the comma or bracket at byte {end + 1:,}")
        elif self.is_object:
            self._begun().update(json_text.loads(b"".join((b"{", memoryview(text)[self.start : end], b"}"))))
        else:
            self._begun().extend(json_text.loads(b"".join((b"[", memoryview(text)[self.start : end], b"]"))))
        self.is_after_inner = False

    def put(self, text: Text, inner: "_Container", end: int) -> None:
        """Add a large container, parsed by itself, after what comes before it."""
        if self.member > self.start:
            self.parse_up_to(text, self.member - 1)
        before = bytes(text[self.member : inner.opened]).strip()
        if self.is_object and before.endswith(b":"):
            self._begun().update(json_text.loads(b"{" + before + b"null}"))
            self.value[json_text.loads(before[:-1])] = inner.value
        elif self.is_object or before or self.is_after_inner:
            raise BadInputError(f"not JSON: a list or object is out of place at byte {inner.opened + 1:,}")
        else:
            self._begun().append(inner.value)
        self.start, self.is_after_inner = end, True

    def _begun(self) -> Any:  # noqa: ANN401 -- a list or a dict
        if self.value is None:
            self.value = {} if self.is_object else []
        return self.value


class _Reader:
    """Takes the tokens of a text and puts together what the large containers in it hold."""

    def __init__(self, text: Text, start: int, end: int) -> None:
        self._text = text
        self._stop = end
        self._open: list[_Container] = []
        self._done: _Container | None = None
        self._start = self._end = start

    def take(self, sign: int, at: int) -> None:
        if sign in _OPEN:
            if len(self._open) >= MAX_DEPTH:
                raise BadInputError(f"JSON nested deeper than {MAX_DEPTH:,} levels")
            self._open.append(_Container(at, sign != _LIST, at + 1, at + 1))
        elif sign == _QUOTE:
            return
        elif not self._open:
            raise BadInputError(f"not JSON: it goes on after its end at byte {at + 1:,}")
        elif sign == _COMMA:
            self._separate(self._open[-1], at)
        else:
            self._close(self._open.pop(), at)

    def _separate(self, container: _Container, at: int) -> None:
        if container.is_after_inner or at - container.start > SMALL:
            container.parse_up_to(self._text, at)
            container.start = at + 1
        container.member = at + 1

    def _close(self, container: _Container, at: int) -> None:
        is_small = container.value is None and at - container.opened <= SMALL
        if is_small and self._open:
            return  # it is parsed with what is around it
        if self._text[at] != (b"}" if container.is_object else b"]")[0]:
            raise BadInputError(f"not JSON: the bracket at byte {at + 1:,} does not close what is open")
        if container.value is None and _is_blank(self._text, container.start, at):
            container._begun()  # noqa: SLF001 -- its own kind
        else:
            container.parse_up_to(self._text, at)
        if self._open:
            self._open[-1].put(self._text, container, at + 1)
        else:
            self._finish(container, at + 1)

    def _finish(self, container: _Container, end: int) -> None:
        if self._done or not _is_blank(self._text, self._end, container.opened):
            raise BadInputError("not JSON: there is more than one value")
        self._done, self._end = container, end

    def finished(self) -> object:
        if self._open:
            raise BadInputError("not JSON: it ends before all of its lists and objects are closed")
        if not self._done:
            return json_text.loads(bytes(memoryview(self._text)[self._start : self._stop]))
        if not _is_blank(self._text, self._end, self._stop):
            raise BadInputError("not JSON: it goes on after its end")
        return self._done.value


@dataclass(slots=True)
class Members:
    """The texts of a list's members, none of them cut out, and the text around the list."""

    text: Text
    ends: "array[int]" = field(default_factory=lambda: array("Q"))
    around: bytes = b""

    def __len__(self) -> int:
        return len(self.ends) // 2

    def span(self, position: int) -> tuple[int, int]:
        """Where a member begins and ends in the text."""
        start, end = self.ends[2 * position : 2 * position + 2]
        return start, end

    def size(self, position: int) -> int:
        """The length of a member's text."""
        start, end = self.span(position)
        return end - start


async def members(text: Text, path: Sequence[str]) -> Members | None:
    """The members of the list at a path of keys, none of them parsed; None where there is no list at that path.

    Raises:
        BadInputError: the text is no JSON as a whole, or the path leads to several lists.
        PayloadTooLargeError: the list has more than `MAX_MEMBERS` members.
    """
    return await asyncio.to_thread(_members, text, path)


def _members(text: Text, path: Sequence[str]) -> Members | None:
    finder = _Finder(text, [json_text.encode(key).encode() for key in path])
    start = 0
    while start < len(text):
        start = _take_some(finder, text, start)
    return finder.finished()


def _take_some(finder: "_Finder", text: Text, start: int) -> int:
    """Take tokens, inside the members of the list none but brackets; where to go on."""
    is_inside = finder.is_inside
    end = min(start + _WINDOW, len(text))
    for token in (_BRACKET if is_inside else _TOKEN_OR_COLON).finditer(text, start, end):
        if text[token.start()] == _QUOTE:
            after = _end_of_string(text, token.start()) if token[1] is None else token.end()
            finder.take_string(token.start(), after)
            if token[1] is None:
                return after
            continue
        finder.take(token)
        if finder.is_inside != is_inside:
            return token.end()
    if not is_inside:
        _check_gap(finder.seen, end)
    return end


class _Finder:
    """Follows a path of keys through the tokens of a text, and marks the members of the list at its end."""

    def __init__(self, text: Text, path: Sequence[bytes]) -> None:
        self._path = path
        self._depth = 0
        self._matched = 0
        self._is_due = True  # whether the next container is the one that the path leads to
        self._members = Members(text)
        self._span: tuple[int, int] | None = None
        self._string = (0, 0)
        self.seen = 0
        self._list_depth = 0
        self._start = 0

    @property
    def is_inside(self) -> bool:
        """Whether it is inside a member of the list, of which only the end matters."""
        return 0 < self._list_depth < self._depth

    def take_string(self, start: int, end: int) -> None:
        """Note a string, which is a key if a colon comes next."""
        self._string = start, end
        self.seen = end

    def take(self, token: "re.Match[bytes]") -> None:
        """Take a sign."""
        at, self.seen = token.span()
        sign = self._members.text[at]
        if sign == _COLON:
            self._is_due = self._is_due if self._list_depth else self._is_next_key()
        elif sign in _OPEN:
            self._open(sign, at)
        elif sign == _COMMA:
            self._is_due = False
            if self._list_depth and self._depth == self._list_depth:
                self._mark(at)
        else:
            self._close(at)

    def _is_next_key(self) -> bool:
        """Whether the last string is the key that the path has next."""
        if not 0 < self._depth == self._matched:
            return False
        key, (start, end) = self._path[self._matched - 1], self._string
        return end - start == len(key) and self._members.text[start:end] == key

    def _open(self, sign: int, at: int) -> None:
        self._depth += 1
        if self._list_depth or not self._is_due:
            return
        self._is_due = False
        if self._matched == len(self._path):
            if sign == _LIST:
                self._begin(at)
        elif sign != _LIST:
            self._matched += 1

    def _begin(self, at: int) -> None:
        if self._span:
            raise BadInputError("not JSON of use: it has the same key twice")
        self._list_depth, self._start, self._span = self._depth, at + 1, (at, at)

    def _mark(self, end: int) -> None:
        if len(self._members) >= MAX_MEMBERS:
            raise PayloadTooLargeError(f"has more than {MAX_MEMBERS:,} members; send fewer at once")
        self._members.ends.extend((self._start, end))
        self._start = end + 1

    def _close(self, at: int) -> None:
        if self._list_depth and self._depth == self._list_depth:
            is_empty = not self._members and _is_blank(self._members.text, self._start, at)
            if not is_empty:
                self._mark(at)
            self._list_depth = 0
            self._span = (self._span or (0, 0))[0], at + 1
        self._depth -= 1
        self._matched = min(self._matched, self._depth)

    def finished(self) -> Members | None:
        if self._depth or self._list_depth:
            raise BadInputError("not JSON: it ends before all of its lists and objects are closed")
        if not self._span:
            return None
        start, end = self._span
        text = self._members.text
        self._members.around = bytes(text[:start]) + b"[]" + bytes(text[end:])
        return self._members
