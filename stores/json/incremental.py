"""JSON texts of megabytes, read slice by slice in a thread: parsed at once, they would hold everyone up.

A text is cut at commas of any depth, and orjson parses one slice after the other.
The members of a list can also be had one by one, each of which may be no JSON without the others being lost.
"""

import asyncio
import re
import secrets
from array import array
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from stores.errors import BadInputError, PayloadTooLargeError
from stores.json import codec, memory_estimate
from stores.json.limits import MAX_DEPTH

SMALL: Final = 64 * 1024
"""Bytes that are parsed at once."""

UNCOUNTED: Final = 16 * 1024
"""Bytes of a request's text whose values are not counted: they take 0.5 MB at most."""

_AT_ONCE_BYTES: Final = 4 * 1024 * 1024
_AT_ONCE_VALUES: Final = 100_000
"""Texts within both bounds are parsed at once, in 10 to 50 ms at most; slices take up to five times the CPU time."""

MAX_VALUES: Final = 1_600_000
"""Values in one text, each of which takes some tens of bytes of memory; a document of MongoDB has room for fewer."""

MAX_MEMBERS: Final = 500_000
"""Members of a list that are had one by one."""

MAX_TOKENS: Final = 2_500_000
"""Brackets and strings that the search for members may pass, each of which takes a microsecond.

A batch of calls has one in 20 bytes.
"""

_TOKEN_OR_COLON: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{},:]')
"""A short string, the beginning of any other, or a sign that takes a text apart."""
_BRACKET: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{}]')
_WINDOW: Final = 256 * 1024
"""How far one search goes: by a regular expression it lets no other thread in."""

_MOST_BETWEEN: Final = 256 * 1024
"""Bytes between two tokens, which can be nothing but blanks or a number beyond all bounds; they are parsed at once."""

_SPACE: Final = re.compile(rb"\s*")
_OPEN: Final = frozenset(b"[{")
_OPENS: Final = dict(zip(b"]}", b"[{", strict=True))
_QUOTE, _COMMA, _COLON, _LIST, _BACKSLASH = b'",:[\\'
_SIGN: Final = re.compile(rb'["\[\]{},]')
_NO_BRACKETS: Final = bytes(sign for sign in range(256) if sign not in b"[]{}")
_MOST_SIGNS: Final = 4 * MAX_DEPTH
"""Brackets and strings that can stand together in JSON without a comma between any of them."""

_MARK_BEFORE, _MARK_AFTER = (secrets.token_hex(8) for _ in range(2))
"""Stand in a slice for the members before and after it; no client can guess them."""

_OUTER: Final = {b"["[0]: b"[", b"{"[0]: b'{"%b":' % _MARK_BEFORE.encode()}
_BEFORE: Final = {b"["[0]: b'["%b",' % _MARK_BEFORE.encode(), b"{"[0]: b'{"%b":0,' % _MARK_BEFORE.encode()}
_AFTER: Final = {b"["[0]: b',"%b"]' % _MARK_AFTER.encode(), b"{"[0]: b',"%b":0}' % _MARK_AFTER.encode()}

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
        return codec.loads(bytes(memoryview(text)[start:end]))
    return await asyncio.to_thread(_loads, text, start, end)


async def loads_whole(text: Text, reserve: Reserve | None = None, max_values: int = MAX_VALUES) -> object:
    """Return the value of a request's JSON text, as `json_text.loads` does; a thread parses one of very many values.

    `reserve` gets the bytes of memory that the value takes beyond those of ordinary JSON, before the text is parsed.

    Raises:
        BadInputError: the text is not JSON, or goes beyond `json_bounds`.
        PayloadTooLargeError: it has more than `max_values` values; it is not parsed then.
    """
    size = len(text)
    if size <= UNCOUNTED:
        return codec.loads(text)
    values = await _admit(text, 0, size, max_values, reserve)
    if values <= _AT_ONCE_VALUES and size <= _AT_ONCE_BYTES:
        return codec.loads(text)
    return await asyncio.to_thread(_loads, text, 0, size)


async def _admit(text: Text, start: int, end: int, max_values: int, reserve: Reserve | None) -> int:
    """Hold a text to the limit of values, and reserve the memory that they take; return at most how many there are."""
    size = end - start
    counts = await _counted(memory_estimate.upper_bound, text, start, end, at_once=size <= _AT_ONCE_BYTES)
    if counts.values > max_values or (reserve and counts.excess_bytes(size)):
        # Strings may hold many of the signs that were counted.
        counts = await _counted(memory_estimate.exact, text, start, end, at_once=size <= SMALL)
    if counts.values > max_values:
        raise PayloadTooLargeError(f"has more than {max_values:,} values; send fewer")
    if reserve and (excess := counts.excess_bytes(size) + await _wide_bytes(text, start, end)):
        await reserve(excess)
    return counts.values


async def _wide_bytes(text: Text, start: int, end: int) -> int:
    """The bytes of memory that wide characters add to a text of more than 64 KiB."""
    if end - start <= SMALL:
        return 0
    if end - start <= _AT_ONCE_BYTES:
        return memory_estimate.wide_bytes(text, start, end)
    return await asyncio.to_thread(memory_estimate.wide_bytes, text, start, end)


async def _counted(
    count: Callable[[Text, int, int], memory_estimate.Counts], text: Text, start: int, end: int, *, at_once: bool
) -> memory_estimate.Counts:
    return count(text, start, end) if at_once else await asyncio.to_thread(count, text, start, end)


def loads_incrementally(text: Text) -> object:
    """The same for whoever is in a thread already."""
    return _loads(text, 0, len(text))


def _loads(text: Text, start: int, end: int) -> object:
    slices = _Slices()
    while start < end or slices.is_open:
        cut, brackets = _next_cut(text, start, end)
        slices.add(memoryview(text)[start:cut], brackets, is_last=cut == end)
        start = cut + 1
    return slices.value


def _next_cut(text: Text, start: int, end: int) -> tuple[int, Text]:
    """Find a comma to cut the text at, and the brackets before it, both outside of strings; `end` if there is none."""
    window = memory_estimate.window(text, start, min(start + SMALL, end))
    outside, quotes = memory_estimate.outside_strings(window, is_inside=False)
    brackets = bytearray(outside.translate(None, _NO_BRACKETS))
    at = start + len(window)
    if quotes % 2:
        at = _end_of_string(text, at - 1)
    for _ in range(_MOST_SIGNS):
        sign = _SIGN.search(text, at, min(at + _MOST_BETWEEN + 1, end))
        if sign is None:
            _check_gap(at, end)
            return end, brackets
        if sign[0] == b",":
            return sign.start(), brackets
        if sign[0] == b'"':
            at = _end_of_string(text, sign.start())
        else:
            brackets += sign[0]
            at = sign.end()
    raise BadInputError(f"not JSON: there is no comma between the values before byte {at + 1:,}")


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


class _Slices:
    """The value of a text that comes in slices, each of which begins and ends at a comma of any depth.

    A slice is parsed with the brackets around it that are open: `1], [2` of `[[0, 1], [2, 3]]` as `[[1], [2]]`. Marks
    stand for the members before and after it.
    """

    def __init__(self) -> None:
        self._signs: list[int] = []  # the brackets that are open
        self._containers: list[Any] = []  # the list or object of each
        self.value: object = None

    @property
    def is_open(self) -> bool:
        """Whether the value ends in a later slice."""
        return bool(self._signs)

    def add(self, text: memoryview, brackets: Text, *, is_last: bool) -> None:
        """Parse the next slice, and add it to what came before.

        Raises:
            BadInputError: the slices are not JSON, or nest too deeply.
        """
        opened = self._signs.copy()
        base = max(self._follow(brackets) - 1, 0)
        if not is_last and not self._signs:
            raise BadInputError("not JSON: it goes on after its end")
        if is_last and self._signs:
            raise BadInputError("not JSON: it ends before all of its lists and objects are closed")
        before = [_OUTER[sign] for sign in opened[base:-1]] + [_BEFORE[sign] for sign in opened[-1:]]
        after = [_AFTER[sign] for sign in reversed(self._signs[base:])]
        value: Any = codec.loads(b"".join((*before, text, *after)))
        earlier = self._containers[base:]
        still_open = _still_open(value, len(self._signs) - base)
        if not earlier:
            self.value = value
        for container in earlier:
            if isinstance(container, dict):
                inner = value.pop(_MARK_BEFORE)
                container.update(value)
            else:
                inner = value[0]
                container.extend(islice(value, 1, None))
            value = inner
        self._containers[base:] = earlier[:1] + still_open[1:] if earlier and still_open else still_open

    def _follow(self, brackets: Text) -> int:
        """Open and close what the brackets do; return how many of those open before stay open throughout."""
        signs = self._signs
        least = len(signs)
        for sign in brackets:
            if sign in _OPEN:
                signs.append(sign)
                if len(signs) > MAX_DEPTH:
                    raise BadInputError(f"JSON nested deeper than {MAX_DEPTH:,} levels")
            elif signs and signs.pop() == _OPENS[sign]:
                least = min(least, len(signs))
            else:
                raise BadInputError("not JSON: a bracket does not close what is open")
        return least


def _still_open(value: Any, depth: int) -> list[Any]:  # noqa: ANN401 -- a list or a dict
    """Find the lists and objects of a slice that a later slice ends, the outermost first; remove their marks."""
    found: list[Any] = []
    for _ in range(depth):
        if not _is_marked(value):
            # A key that came twice: the last value has the position of the first.
            value = next(inner for inner in found[-1].values() if _is_marked(inner))
        found.append(value)
        if isinstance(value, dict):
            del value[_MARK_AFTER]
            value = next(reversed(value.values()), None)
        else:
            value.pop()
            value = value[-1]
    return found


def _is_marked(value: object) -> bool:
    if isinstance(value, dict):
        return _MARK_AFTER in value
    return isinstance(value, list) and value[-1:] == [_MARK_AFTER]


@dataclass(slots=True)
class ArraySpans:
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


async def find_array(text: Text, path: Sequence[str]) -> ArraySpans | None:
    """The members of the list at a path of keys, none of them parsed; None where there is no list at that path.

    Raises:
        BadInputError: the text is no JSON as a whole, or the path leads to several lists.
        PayloadTooLargeError: the list has more than `MAX_MEMBERS` members, or the text more than `MAX_TOKENS` tokens.
    """
    return await asyncio.to_thread(_members, text, path)


def _members(text: Text, path: Sequence[str]) -> ArraySpans | None:
    finder = _Finder(text, [codec.encode(key).encode() for key in path])
    start = 0
    while start < len(text):
        start = _take_some(finder, text, start)
        if finder.tokens > MAX_TOKENS:
            raise PayloadTooLargeError(f"has more than {MAX_TOKENS:,} strings, lists and objects; send fewer at once")
    return finder.finished()


def _take_some(finder: "_Finder", text: Text, start: int) -> int:
    """Take tokens, inside the members of the list none but brackets; where to go on."""
    is_inside = finder.is_inside
    end = min(start + _WINDOW, len(text))
    for token in (_BRACKET if is_inside else _TOKEN_OR_COLON).finditer(text, start, end):
        finder.tokens += 1
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
        self._members = ArraySpans(text)
        self._span: tuple[int, int] | None = None
        self._string = (0, 0)
        self.seen = 0
        self.tokens = 0
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

    def finished(self) -> ArraySpans | None:
        if self._depth or self._list_depth:
            raise BadInputError("not JSON: it ends before all of its lists and objects are closed")
        if not self._span:
            return None
        start, end = self._span
        text = self._members.text
        self._members.around = bytes(text[:start]) + b"[]" + bytes(text[end:])
        return self._members
