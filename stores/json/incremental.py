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
from typing import Final, TypeVar

from stores.errors import BadInputError, PayloadTooLargeError
from stores.json import AnyJson, codec, memory_estimate
from stores.json.paths import MAX_DEPTH

SMALL: Final = 64 * 1024
"""Bytes that are parsed in one call."""

UNCOUNTED: Final = 16 * 1024
"""Bytes of a request's text whose values are not counted: they take 0.5 MB at most."""

_DIRECT_BYTES: Final = 4 * 1024 * 1024
_DIRECT_VALUES: Final = 100_000
"""Texts within both limits are parsed in one call, in 10 to 50 ms at most; slicing takes up to five times the CPU time.
"""

_MAX_UNCHECKED_EXCESS: Final = 2
"""Excess memory per byte of text that is reserved by the upper bound alone: exact counts take as long as parsing."""

MAX_VALUES: Final = 1_600_000
"""Maximum values in one text, each of which takes some tens of bytes of memory; a MongoDB document holds fewer."""

MAX_MEMBERS: Final = 500_000
"""Maximum members of a list that are located without parsing."""

MAX_TOKENS: Final = 2_500_000
"""Brackets and strings that the search for members may pass, about a microsecond each.

A batch of calls has one per 20 bytes.
"""

_TOKEN: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{},]')
"""A short string, the start of any other string, or a structural character."""
_TOKEN_OR_COLON: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{},:]')
_BRACKET: Final = re.compile(rb'("[^"\\]{0,128}")|["\[\]{}]')
_MAX_GAP: Final = 256 * 1024
"""Maximum bytes between two tokens, which are only blanks or one number; they are parsed in one call."""

_SPACE: Final = re.compile(rb"\s*")
_OPEN: Final = frozenset(b"[{")
_OPENS: Final = dict(zip(b"]}", b"[{", strict=True))
_QUOTE, _COMMA, _COLON, _LIST, _OBJECT, _BACKSLASH = b'",:[{\\'
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
_R = TypeVar("_R")

Reserve = Callable[[int], Awaitable[None]]
"""Reserves bytes of memory for a request, such as `Reservation.reserve`; it raises an error if there is no room."""


async def loads(
    text: Text, max_values: int = MAX_VALUES, span: tuple[int, int] | None = None, reserve: Reserve | None = None
) -> object:
    """Parse a JSON text, or a span of it, like `codec.loads`; a large one is parsed in a thread.

    `reserve` is called before parsing with the bytes of memory that the value takes beyond ordinary JSON.

    Raises:
        BadInputError: if the text is not JSON, or exceeds the limits of `stores.json.paths`.
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
        BadInputError: if the text is not JSON, or exceeds the limits of `stores.json.paths`.
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
    is_small, is_direct = size <= SMALL, size <= _DIRECT_BYTES
    counts = await _scan(memory_estimate.upper_bound, text, start, end, in_this_thread=is_direct)
    if counts.values > max_values or (reserve and counts.excess_bytes(size) > _MAX_UNCHECKED_EXCESS * size):
        # Strings may contain many of the counted characters.
        counts = await _scan(memory_estimate.exact, text, start, end, in_this_thread=is_small)
    if counts.values > max_values:
        raise PayloadTooLargeError(f"has more than {max_values:,} values; send fewer")
    if reserve:
        excess = counts.excess_bytes(size)
        if not is_small:
            excess += await _scan(memory_estimate.wide_bytes, text, start, end, in_this_thread=is_direct)
        if excess:
            await reserve(excess)
    return counts.values


async def _scan(scan: Callable[[Text, int, int], _R], text: Text, start: int, end: int, *, in_this_thread: bool) -> _R:
    return scan(text, start, end) if in_this_thread else await asyncio.to_thread(scan, text, start, end)


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
        self._containers: list[AnyJson] = []  # the list or object of each
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
        value: AnyJson = codec.loads(b"".join((*before, text, *after)))
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


def _still_open(value: AnyJson, depth: int) -> list[AnyJson]:
    """Find the lists and objects of a slice that end in a later slice, outermost first; remove their placeholders."""
    containers: list[AnyJson] = []
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

    def add(self, start: int, end: int) -> None:
        """Add the next member.

        Raises:
            PayloadTooLargeError: if there are more than `MAX_MEMBERS`.
        """
        if len(self) >= MAX_MEMBERS:
            raise PayloadTooLargeError(f"has more than {MAX_MEMBERS:,} members; send fewer per request")
        self.ends.extend((start, end))


async def find_array(text: Text, path: Sequence[str]) -> ArraySpans | None:
    """Locate the members of the list at a path of keys without parsing them; None if there is no list.

    Each string and each bracket counts as a token, and each comma outside of other lists and objects. Numbers, `true`,
    `false` and `null` do not count.

    Raises:
        BadInputError: if the text ends too early, or the path leads to several lists; invalid JSON elsewhere stays in
            the members, or around the list.
        PayloadTooLargeError: if the list has more than `MAX_MEMBERS` members, or the text more than `MAX_TOKENS`
            tokens.
    """
    return await asyncio.to_thread(_Finder(text).find, [codec.encode(key).encode() for key in path])


class _Finder:
    """Follows a path of keys through a text, and records the members of the list at its end.

    Each method scans from a position on and returns the position at which the scan ended.
    """

    def __init__(self, text: Text) -> None:
        self._text = text
        self._tokens = 0
        self._found: ArraySpans | None = None

    def find(self, path: Sequence[bytes]) -> ArraySpans | None:
        self._follow(0, path)
        return self._found

    def _follow(self, at: int, path: Sequence[bytes]) -> int:
        """Scan the item at `at`, in which the path continues."""
        start, _ = self._next(at, _TOKEN)
        sign = self._text[start] if start < len(self._text) else None
        if sign == _OBJECT and path:
            at = start
            while at == start or self._sign(at) == _COMMA:
                at = self._object_member(at + 1, path)
        elif sign == _LIST and not path:
            at = self._list(start)
        else:
            return self._skip(at)
        return self._skip(at + 1)

    def _object_member(self, at: int, path: Sequence[bytes]) -> int:
        start, end = self._next(at, _TOKEN)
        is_next_key = self._text[start:end] == path[0]
        colon, after = self._next(end, _TOKEN_OR_COLON) if is_next_key else (end, end)
        if is_next_key and self._sign(colon) == _COLON:
            return self._follow(after, path[1:])
        return self._skip(at)

    def _list(self, start: int) -> int:
        if self._found:
            raise BadInputError("duplicate key on the path to the list; send each key once")
        found = self._found = ArraySpans(self._text)
        end = start
        while end == start or self._sign(end) == _COMMA:
            member, end = end + 1, self._skip(end + 1)
            if len(found) or self._sign(end) == _COMMA or not _is_blank(self._text, member, end):
                found.add(member, end)
        found.around = bytes(self._text[:start]) + b"[]" + bytes(self._text[end + 1 :])
        return end

    def _skip(self, at: int) -> int:
        """Skip an item, up to the comma or bracket after it, or the end of the text."""
        text, depth = self._text, 0
        while at < len(text):
            start, at = self._next(at, _BRACKET if depth else _TOKEN)
            sign = text[start] if start < at else _QUOTE
            if sign in _OPEN:
                depth += 1
            elif sign != _QUOTE:
                if not depth:
                    return start
                depth -= 1
        return at

    def _next(self, at: int, pattern: "re.Pattern[bytes]") -> tuple[int, int]:
        """Return the start and end of the next token; both are the end of the text if there is none."""
        self._tokens += 1
        if self._tokens > MAX_TOKENS:
            raise PayloadTooLargeError(
                f"has more than {MAX_TOKENS:,} strings, lists and objects; send fewer per request"
            )
        text, token = self._text, None
        while token is None and at < len(text):
            # A search that finds nothing blocks all other threads.
            token = pattern.search(text, at, at + _MAX_GAP + 1)
            if token is None and pattern is not _BRACKET:
                _check_gap(at, len(text))
            at += _MAX_GAP + 1
        if token is None:
            return len(text), len(text)
        start, end = token.span()
        is_cut = token[1] is None and text[start] == _QUOTE
        return start, _end_of_string(text, start) if is_cut else end

    def _sign(self, at: int) -> int:
        if at >= len(self._text):
            raise BadInputError("not JSON: it ends before all of its lists and objects are closed")
        return self._text[at]
