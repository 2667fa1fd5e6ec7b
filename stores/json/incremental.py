"""Large JSON texts, parsed slice by slice in a thread: parsing one in a single call would block the event loop.

A text is cut at commas of any depth, and orjson parses one slice after another. The members of a list can also be
located without parsing, so that one invalid member does not invalidate the others.
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
"""Bytes that are parsed in one call."""

UNCOUNTED: Final = 16 * 1024
"""Bytes of a request's text whose values are not counted: they take 0.5 MB at most."""

_DIRECT_BYTES: Final = 4 * 1024 * 1024
_DIRECT_VALUES: Final = 100_000
"""Texts within both limits are parsed in one call, in 10 to 50 ms at most; slicing takes up to five times the CPU time.
"""

MAX_VALUES: Final = 1_600_000
"""Maximum values in one text, each of which takes some tens of bytes of memory; a MongoDB document holds fewer."""

MAX_MEMBERS: Final = 500_000
"""Maximum members of a list that are located without parsing."""

MAX_TOKENS: Final = 2_500_000
"""Brackets and strings that the search for members may pass, about a microsecond each.

A batch of calls has one per 20 bytes.
"""

_TOKEN_OR_COLON: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{},:]')
"""A short string, the start of any other string, or a structural character."""
_BRACKET: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{}]')
_WINDOW: Final = 256 * 1024
"""Bytes that one search covers: a regular expression blocks all other threads."""

_MAX_GAP: Final = 256 * 1024
"""Maximum bytes between two tokens, which are only blanks or one number; they are parsed in one call."""

_SPACE: Final = re.compile(rb"\s*")
_OPEN: Final = frozenset(b"[{")
_OPENS: Final = dict(zip(b"]}", b"[{", strict=True))
_QUOTE, _COMMA, _COLON, _LIST, _BACKSLASH = b'",:[\\'
_SIGN: Final = re.compile(rb'["\[\]{},]')
_NO_BRACKETS: Final = bytes(sign for sign in range(256) if sign not in b"[]{}")
_MAX_SIGNS: Final = 4 * MAX_DEPTH
"""Maximum brackets and strings in a row, without a comma, in JSON within the depth limit."""

_MARK_BEFORE, _MARK_AFTER = (secrets.token_hex(8) for _ in range(2))
"""Placeholders in a slice for the members before and after it; clients cannot guess them."""

_OUTER: Final = {b"["[0]: b"[", b"{"[0]: b'{"%b":' % _MARK_BEFORE.encode()}
_BEFORE: Final = {b"["[0]: b'["%b",' % _MARK_BEFORE.encode(), b"{"[0]: b'{"%b":0,' % _MARK_BEFORE.encode()}
_AFTER: Final = {b"["[0]: b',"%b"]' % _MARK_AFTER.encode(), b"{"[0]: b',"%b":0}' % _MARK_AFTER.encode()}

Text = bytes | bytearray

Reserve = Callable[[int], Awaitable[None]]
"""Reserves bytes of memory for a request, such as `Reservation.reserve`; it raises an error if there is no room."""


async def loads(
    text: Text, max_values: int = MAX_VALUES, span: tuple[int, int] | None = None, reserve: Reserve | None = None
) -> object:
    """Parse a JSON text, or a span of it, like `codec.loads`; a large one is parsed in a thread.

    `reserve` is called before parsing with the bytes of memory that the value takes beyond ordinary JSON.

    Raises:
        BadInputError: if the text is not JSON, or exceeds `limits`.
        PayloadTooLargeError: if it has more than `max_values` values; then it is not parsed.
    """
    start, end = span or (0, len(text))
    await _check_and_reserve(text, start, end, max_values, reserve)
    if end - start <= SMALL:
        return codec.loads(bytes(memoryview(text)[start:end]))
    return await asyncio.to_thread(_loads, text, start, end)


async def loads_request(text: Text, reserve: Reserve | None = None, max_values: int = MAX_VALUES) -> object:
    """Parse a request's JSON text like `codec.loads`; one with very many values is parsed in a thread.

    `reserve` is called before parsing with the bytes of memory that the value takes beyond ordinary JSON.

    Raises:
        BadInputError: if the text is not JSON, or exceeds `limits`.
        PayloadTooLargeError: if it has more than `max_values` values; then it is not parsed.
    """
    size = len(text)
    if size <= UNCOUNTED:
        return codec.loads(text)
    values = await _check_and_reserve(text, 0, size, max_values, reserve)
    if values <= _DIRECT_VALUES and size <= _DIRECT_BYTES:
        return codec.loads(text)
    return await asyncio.to_thread(_loads, text, 0, size)


async def _check_and_reserve(text: Text, start: int, end: int, max_values: int, reserve: Reserve | None) -> int:
    """Check the number of values and reserve their memory; return an upper bound of the number."""
    size = end - start
    counts = await _count(memory_estimate.upper_bound, text, start, end, in_this_thread=size <= _DIRECT_BYTES)
    if counts.values > max_values or (reserve and counts.excess_bytes(size)):
        # Strings may contain many of the counted characters.
        counts = await _count(memory_estimate.exact, text, start, end, in_this_thread=size <= SMALL)
    if counts.values > max_values:
        raise PayloadTooLargeError(f"has more than {max_values:,} values; send fewer")
    if reserve and (excess := counts.excess_bytes(size) + await _wide_bytes(text, start, end)):
        await reserve(excess)
    return counts.values


async def _wide_bytes(text: Text, start: int, end: int) -> int:
    """Return the bytes of memory that wide characters add to a text of more than 64 KiB."""
    if end - start <= SMALL:
        return 0
    if end - start <= _DIRECT_BYTES:
        return memory_estimate.wide_bytes(text, start, end)
    return await asyncio.to_thread(memory_estimate.wide_bytes, text, start, end)


async def _count(
    count: Callable[[Text, int, int], memory_estimate.Counts], text: Text, start: int, end: int, *, in_this_thread: bool
) -> memory_estimate.Counts:
    return count(text, start, end) if in_this_thread else await asyncio.to_thread(count, text, start, end)


def loads_incrementally(text: Text) -> object:
    """Parse a JSON text in slices, for callers that run in a thread already."""
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
    for _ in range(_MAX_SIGNS):
        sign = _SIGN.search(text, at, min(at + _MAX_GAP + 1, end))
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
    if end - start > _MAX_GAP:
        raise BadInputError(f"more than {_MAX_GAP:,} blanks or digits in a row after byte {start:,}; send compact JSON")


def _end_of_string(text: Text, at: int) -> int:
    """Return the end of the string that starts at a quote; many times faster than a regular expression."""
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
    """Assembles the value of a text from slices, each of which starts and ends at a comma of any depth.

    A slice is parsed together with the brackets that are open around it: `1], [2` of `[[0, 1], [2, 3]]` as `[[1],
    [2]]`. Placeholders stand for the members before and after it.
    """

    def __init__(self) -> None:
        self._signs: list[int] = []  # the open brackets
        self._containers: list[Any] = []  # the list or object of each
        self.value: object = None

    @property
    def is_open(self) -> bool:
        """True if the value ends in a later slice."""
        return bool(self._signs)

    def add(self, text: memoryview, brackets: Text, *, is_last: bool) -> None:
        """Parse the next slice and merge it into the value.

        Raises:
            BadInputError: if the slices are not JSON, or nest too deeply.
        """
        opened = self._signs.copy()
        base = max(self._apply(brackets) - 1, 0)
        if not is_last and not self._signs:
            raise BadInputError("not JSON: there is text after its end")
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

    def _apply(self, brackets: Text) -> int:
        """Apply the brackets to the open ones; return how many of the previously open ones stay open throughout."""
        signs = self._signs
        unchanged = len(signs)
        for sign in brackets:
            if sign in _OPEN:
                signs.append(sign)
                if len(signs) > MAX_DEPTH:
                    raise BadInputError(f"JSON nested deeper than {MAX_DEPTH:,} levels; flatten it")
            elif signs and signs.pop() == _OPENS[sign]:
                unchanged = min(unchanged, len(signs))
            else:
                raise BadInputError("not JSON: a bracket does not match the open one")
        return unchanged


def _still_open(value: Any, depth: int) -> list[Any]:  # noqa: ANN401 -- a list or a dict
    """Find the lists and objects of a slice that end in a later slice, outermost first; remove their placeholders."""
    containers: list[Any] = []
    for _ in range(depth):
        if not _is_marked(value):
            # With a duplicate key, the last value has the position of the first.
            value = next(inner for inner in containers[-1].values() if _is_marked(inner))
        containers.append(value)
        if isinstance(value, dict):
            del value[_MARK_AFTER]
            value = next(reversed(value.values()), None)
        else:
            value.pop()
            value = value[-1]
    return containers


def _is_marked(value: object) -> bool:
    if isinstance(value, dict):
        return _MARK_AFTER in value
    return isinstance(value, list) and value[-1:] == [_MARK_AFTER]


@dataclass(slots=True)
class ArraySpans:
    """The positions of a list's members in a text, and the text around the list."""

    text: Text
    ends: "array[int]" = field(default_factory=lambda: array("Q"))
    around: bytes = b""

    def __len__(self) -> int:
        return len(self.ends) // 2

    def span(self, position: int) -> tuple[int, int]:
        """Return the start and end of a member in the text."""
        start, end = self.ends[2 * position : 2 * position + 2]
        return start, end

    def size(self, position: int) -> int:
        """Return the length of a member's text."""
        start, end = self.span(position)
        return end - start


async def find_array(text: Text, path: Sequence[str]) -> ArraySpans | None:
    """Locate the members of the list at a path of keys without parsing them; None if there is no list.

    Raises:
        BadInputError: if the text is not JSON as a whole, or the path leads to several lists.
        PayloadTooLargeError: if the list has more than `MAX_MEMBERS` members, or the text more than `MAX_TOKENS`
            tokens.
    """
    return await asyncio.to_thread(_members, text, path)


def _members(text: Text, path: Sequence[str]) -> ArraySpans | None:
    finder = _Finder(text, [codec.encode(key).encode() for key in path])
    start = 0
    while start < len(text):
        start = _process_window(finder, text, start)
        if finder.tokens > MAX_TOKENS:
            raise PayloadTooLargeError(
                f"has more than {MAX_TOKENS:,} strings, lists and objects; send fewer per request"
            )
    return finder.result()


def _process_window(finder: "_Finder", text: Text, start: int) -> int:
    """Process tokens, only brackets inside the list's members; return the next position."""
    is_inside = finder.is_inside
    end = min(start + _WINDOW, len(text))
    for token in (_BRACKET if is_inside else _TOKEN_OR_COLON).finditer(text, start, end):
        finder.tokens += 1
        if text[token.start()] == _QUOTE:
            after = _end_of_string(text, token.start()) if token[1] is None else token.end()
            finder.process_string(token.start(), after)
            if token[1] is None:
                return after
            continue
        finder.process(token)
        if finder.is_inside != is_inside:
            return token.end()
    if not is_inside:
        _check_gap(finder.seen, end)
    return end


class _Finder:
    """Follows a path of keys through a text's tokens and records the members of the list at its end."""

    def __init__(self, text: Text, path: Sequence[bytes]) -> None:
        self._path = path
        self._depth = 0
        self._matched = 0
        self._is_due = True  # whether the next container continues the path
        self._members = ArraySpans(text)
        self._span: tuple[int, int] | None = None
        self._string = (0, 0)
        self.seen = 0
        self.tokens = 0
        self._list_depth = 0
        self._start = 0

    @property
    def is_inside(self) -> bool:
        """True inside a member of the list, where only its end matters."""
        return 0 < self._list_depth < self._depth

    def process_string(self, start: int, end: int) -> None:
        """Record a string, which is a key if a colon follows."""
        self._string = start, end
        self.seen = end

    def process(self, token: "re.Match[bytes]") -> None:
        """Process a structural character."""
        at, self.seen = token.span()
        sign = self._members.text[at]
        if sign == _COLON:
            self._is_due = self._is_due if self._list_depth else self._is_next_key()
        elif sign in _OPEN:
            self._open(sign, at)
        elif sign == _COMMA:
            self._is_due = False
            if self._list_depth and self._depth == self._list_depth:
                self._add_member(at)
        else:
            self._close(at)

    def _is_next_key(self) -> bool:
        """True if the last string is the next key of the path."""
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
                self._start_list(at)
        elif sign != _LIST:
            self._matched += 1

    def _start_list(self, at: int) -> None:
        if self._span:
            raise BadInputError("duplicate key on the path to the list; send each key once")
        self._list_depth, self._start, self._span = self._depth, at + 1, (at, at)

    def _add_member(self, end: int) -> None:
        if len(self._members) >= MAX_MEMBERS:
            raise PayloadTooLargeError(f"has more than {MAX_MEMBERS:,} members; send fewer per request")
        self._members.ends.extend((self._start, end))
        self._start = end + 1

    def _close(self, at: int) -> None:
        if self._list_depth and self._depth == self._list_depth:
            is_empty = not self._members and _is_blank(self._members.text, self._start, at)
            if not is_empty:
                self._add_member(at)
            self._list_depth = 0
            self._span = (self._span or (0, 0))[0], at + 1
        self._depth -= 1
        self._matched = min(self._matched, self._depth)

    def result(self) -> ArraySpans | None:
        if self._depth or self._list_depth:
            raise BadInputError("not JSON: it ends before all of its lists and objects are closed")
        if not self._span:
            return None
        start, end = self._span
        text = self._members.text
        self._members.around = bytes(text[:start]) + b"[]" + bytes(text[end:])
        return self._members
