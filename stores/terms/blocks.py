"""Blocks: the keys of a segment in order, each with the numbers of its calls, in parts of some kilobytes.

A reader finds the blocks of a range of keys by their first keys, and decompresses them. The keys of a block are joined
without the path that they share, so one search of the bytes finds a key, or all keys with a text. Numbers are stored as
gaps: the key of a value that most calls have takes nearly nothing.
"""

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain, repeat
from operator import sub
from typing import Final, NamedTuple

import zstandard

from stores.terms.conditions import AnyOf, Condition, KeyRange
from stores.terms.keys import TEXT

Entry = tuple[bytes, Sequence[int]]
"""A key, and the numbers of its calls in order."""

_BLOCK_BYTES: Final = 32 * 1024
"""Bytes of a block before compression; only a block of one key or of the texts of one path may be larger."""

_TEXT_BLOCK_BYTES: Final = 128 * 1024
_TEXT_BLOCK_KEYS: Final = 512
"""Bytes of a block of the long texts of one path, and keys from which they are not long: a search for a text reads all
of them, faster from larger blocks.
"""

MAX_FENCE: Final = 200
"""Maximum bytes of a fence."""

BETWEEN_KEYS: Final = b"\xff"
"""Separator of keys and fences, a byte that none has."""

_LEVEL: Final = 3
"""Level of compression: 6 takes 5 % less space, and three times the time."""

_NO_PATH: Final = BETWEEN_KEYS
"""A path that no key has."""

_SHORT, _WIDE = "H", "I"
_SHORT_LIMIT: Final = 1 << 16


class _Zstandard(threading.local):
    """The compressor and the decompressor of a thread, which take most of the time of a small block to create."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_ZSTANDARD: Final = _Zstandard()


class EncodedBlock(NamedTuple):
    """A block, and the start of its first key: as many bytes as tell it from each key before, up to `MAX_FENCE`."""

    fence: bytes
    data: bytes


def encoded_blocks(entries: Iterable[Entry], calls: int) -> Iterator[EncodedBlock]:
    """Encode the entries of some calls, in the order of their keys."""
    code = _SHORT if calls < _SHORT_LIMIT else _WIDE
    last = b""
    for part in _parts(entries, array(code).itemsize):
        yield EncodedBlock(_separator(last, part[0][0]), _encoded(part, code))
        last = part[-1][0]


def _parts(entries: Iterable[Entry], item_size: int) -> Iterator[list[Entry]]:
    part: list[Entry] = []
    size, path = 0, b""
    for entry in entries:
        key, numbers = entry
        is_same = bool(part) and key.startswith(path)
        entry_size = len(key) - is_same * len(path) + item_size * (1 + len(numbers))
        limit = _TEXT_BLOCK_BYTES if is_same and len(part) < _TEXT_BLOCK_KEYS else _BLOCK_BYTES
        if part and size + entry_size > limit:
            yield part
            part, size = [], 0
        if not part:
            path = key[: _path_length(key)]
        elif not is_same:
            path = _NO_PATH
        part.append(entry)
        size += entry_size
    if part:
        yield part


def _path_length(key: bytes) -> int:
    """Return the number of bytes of a key's path and tag."""
    return key.find(b"\0") + len(TEXT)


def _separator(last: bytes, first: bytes) -> bytes:
    """Return the shortest prefix of `first` that is greater than `last`, or its first `MAX_FENCE` bytes."""
    return first[: min(_common(last, first) + 1, MAX_FENCE)]


def _common(one: bytes, other: bytes) -> int:
    """Return the number of first bytes that two keys share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))


def _encoded(part: Sequence[Entry], code: str) -> bytes:
    first, last = part[0][0], part[-1][0]
    # Not more than the path and the tag, so that a text that is searched for lies within the rest of each key.
    shared = first[: min(_common(first, last), _path_length(first))]
    names = BETWEEN_KEYS.join([b"", *(key[len(shared) :] for key, _ in part), b""])
    # None if each key has one call, as most texts do.
    counts = array(code, [len(numbers) for _, numbers in part] if any(len(numbers) > 1 for _, numbers in part) else [])
    gaps = array(code)
    for _, numbers in part:
        gaps.append(numbers[0])
        if len(numbers) > 1:
            gaps.extend(map(sub, numbers[1:], numbers))
    head = array(_WIDE, (len(part), len(shared), len(names), counts.itemsize))
    return _ZSTANDARD.compress(b"".join((head.tobytes(), shared, names, counts.tobytes(), gaps.tobytes())))


class Block:
    """A decompressed block."""

    def __init__(self, data: bytes) -> None:
        self._plain = plain = _ZSTANDARD.decompress(data)
        head_end = 4 * array(_WIDE).itemsize
        self._count, shared, names, self._item_size = array(_WIDE, plain[:head_end])
        # From the start to the end there are the rests of the keys, with a separator before and after each.
        self._start = head_end + shared
        self._end = self._start + names
        self._shared = plain[head_end : self._start]

    @cached_property
    def _rests(self) -> list[bytes]:
        return self._plain[self._start + 1 : self._end - 1].split(BETWEEN_KEYS)

    @cached_property
    def _numbers(self) -> "tuple[array[int], array[int]]":
        """The number of calls of each key, none if each key has one call, and the gaps of all keys."""
        code = _SHORT if self._item_size == array(_SHORT).itemsize else _WIDE
        lists = array(code, self._plain[self._end :])
        return (lists[:0], lists) if len(lists) == self._count else (lists[: self._count], lists[self._count :])

    def entries(self) -> Iterator[Entry]:
        """Yield all entries."""
        counts, gaps = self._numbers
        start = 0
        for rest, end in zip(self._rests, accumulate(counts or repeat(1, self._count)), strict=True):
            yield self._shared + rest, gaps[start:end] if end == start + 1 else list(accumulate(gaps[start:end]))
            start = end

    def number(self, wanted: KeyRange) -> int:
        """Return the sum of the number of calls of each key in a range."""
        has_one_each = len(self._plain) - self._end == self._count * self._item_size
        if has_one_each and wanted.text and wanted.first == self._shared:
            return sum(1 for _ in self._places_of(wanted.text))
        return sum(map(len, self.runs(wanted)))

    def runs(self, wanted: KeyRange) -> "Iterator[array[int]]":
        """Yield, for each key in a range, the first number of its calls and the gaps."""
        return self._runs(self._positions(wanted))

    def _runs(self, positions: Iterable[int]) -> "Iterator[array[int]]":
        counts, gaps = self._numbers
        if not counts:
            yield from (gaps[at : at + 1] for at in positions)
            return
        end = after = 0
        for at in positions:
            start = end + sum(counts[after:at])
            end, after = start + counts[at], at + 1
            yield gaps[start:end]

    def _positions(self, wanted: KeyRange) -> Iterable[int]:
        """Return the positions of the keys in a range, in order."""
        first, text, test = wanted.first, wanted.text, wanted.test
        if text and first == self._shared:
            return self._positions_with(text)
        if self._plain.find(text, self._start, self._end) < 0:
            return ()
        if wanted.is_one_key:
            return self._position_of(first)
        span = range(self._bisect(first), self._bisect(wanted.end))
        keys = (self._shared + self._rests[at] for at in span) if text or test else ()
        if text:
            return [at for at, key in zip(span, keys, strict=True) if key.find(text, len(first)) >= 0]
        return [at for at, key in zip(span, keys, strict=True) if test(key)] if test else span

    def _position_of(self, key: bytes) -> Sequence[int]:
        rest = BETWEEN_KEYS + key[len(self._shared) :] + BETWEEN_KEYS
        at = self._plain.find(rest, self._start, self._end) if key.startswith(self._shared) else -1
        return (self._plain.count(BETWEEN_KEYS, self._start, at),) if at >= 0 else ()

    def _positions_with(self, text: bytes) -> Iterator[int]:
        """Yield the positions of the keys whose rests contain a text."""
        position, counted = -1, self._start
        for place in self._places_of(text):
            position += self._plain.count(BETWEEN_KEYS, counted, place)
            yield position
            counted = place

    def _places_of(self, text: bytes) -> Iterator[int]:
        """Yield where a text begins in each rest that contains it."""
        find, end = self._plain.find, self._end
        place = find(text, self._start, end)
        while place >= 0:
            yield place
            place = find(text, find(BETWEEN_KEYS, place), end)

    def _bisect(self, bound: bytes) -> int:
        """Return the number of keys that are less than a bound."""
        if bound.startswith(self._shared):
            return bisect_left(self._rests, bound[len(self._shared) :])
        return 0 if bound < self._shared else self._count


def numbers_of(runs: "Iterable[array[int]]") -> set[int]:
    """Return the numbers of the calls of some keys."""
    return set(chain.from_iterable(map(accumulate, runs)))


def ranges_of(condition: Condition) -> Iterator[KeyRange]:
    """Yield the ranges of a condition."""
    if isinstance(condition, KeyRange):
        yield condition
    else:
        yield from chain.from_iterable(map(ranges_of, condition.conditions))


def blocks_of(fences: Sequence[bytes], wanted: KeyRange) -> range:
    """Return the positions of the blocks that may have keys in a range, among those with some fences."""
    if not fences or wanted.end <= fences[0]:
        return range(0)
    first = wanted.first[:MAX_FENCE]
    # Keys that begin with a fence of the maximum length may also be in the block before it.
    after = bisect_left(fences, first) if len(first) == MAX_FENCE else bisect_right(fences, first)
    return range(max(0, after - 1), bisect_left(fences, wanted.end))


class Numbers(NamedTuple):
    """The numbers of the calls that may match, and of those among them that are known to match."""

    possible: set[int]
    certain: set[int]


def combine(condition: Condition, found: Mapping[KeyRange, set[int]]) -> Numbers:
    """Return the numbers of the calls that satisfy a condition, given those with a key in each of its ranges."""
    if isinstance(condition, KeyRange):
        numbers = found[condition]
        return Numbers(numbers, numbers if condition.is_exact else set())
    each = [combine(inner, found) for inner in condition.conditions]
    possible, certain = [one for one, _ in each], [one for _, one in each]
    if isinstance(condition, AnyOf):
        return Numbers(_union(possible), _union(certain))
    return Numbers(set.intersection(*possible), set.intersection(*certain) if condition.is_exact else set())


def _union(sets: Sequence[set[int]]) -> set[int]:
    """Return the union of sets; one of them if the others are empty, as most are."""
    filled = [each for each in sets if each]
    return filled[0] if len(filled) == 1 else set[int]().union(*filled)


def certain_count(condition: Condition, counts: Mapping[KeyRange, int]) -> int | None:
    """Return how many calls satisfy a condition, if all of them match for sure and their number follows from counts.

    Args:
        condition: the condition.
        counts: the number of calls with a key in each of its ranges. A call has one value at a path, so it has at most
            one key in an exact range.
    """
    if isinstance(condition, KeyRange):
        count = counts[condition]
        return count if condition.is_exact or not count else None
    each = [certain_count(inner, counts) for inner in condition.conditions]
    if isinstance(condition, AnyOf):
        # Calls of several alternatives may be the same.
        known = [count for count in each if count != 0]
        return known[0] if len(known) == 1 else None if known else 0
    return 0 if 0 in each else None
