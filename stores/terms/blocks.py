"""Blocks: the keys of a segment in order, each with the numbers of its calls, in parts of some kilobytes.

A reader finds the blocks of a range of keys by their first keys, decompresses them, and bisects. Numbers are stored as
gaps: the key of a value that most calls have takes nearly nothing.
"""

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain
from operator import sub
from typing import Final, NamedTuple

from stores.terms.conditions import AnyOf, Condition, KeyRange

Entry = tuple[bytes, Sequence[int]]
"""A key, and the numbers of its calls in order."""

_BLOCK_BYTES: Final = 32 * 1024
"""Bytes of a block before compression; only a block of one key may be larger."""

MAX_FENCE: Final = 200
"""Maximum bytes of a fence, of which MongoDB's limit for a document leaves room for 80,000."""

BETWEEN_KEYS: Final = b"\xff"
"""Separator of keys and fences, a byte that none has."""

_LEVEL: Final = 3
"""Level of compression: 6 takes 6 % less space, and twice the time."""

_SHORT, _WIDE = "H", "I"
_SHORT_LIMIT: Final = 1 << 16


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
    size = 0
    for entry in entries:
        entry_size = len(entry[0]) + item_size * (1 + len(entry[1]))
        if part and size + entry_size > _BLOCK_BYTES:
            yield part
            part, size = [], 0
        part.append(entry)
        size += entry_size
    if part:
        yield part


def _separator(last: bytes, first: bytes) -> bytes:
    """Return the shortest prefix of `first` that is greater than `last`, or its first `MAX_FENCE` bytes."""
    common = next((at for at, pair in enumerate(zip(last, first, strict=False)) if pair[0] != pair[1]), len(last))
    return first[: min(common + 1, MAX_FENCE)]


def _encoded(part: Sequence[Entry], code: str) -> bytes:
    names = BETWEEN_KEYS.join([key for key, _ in part])
    counts = array(code, [len(numbers) for _, numbers in part])
    gaps = array(code)
    for _, numbers in part:
        gaps.append(numbers[0])
        if len(numbers) > 1:
            gaps.extend(map(sub, numbers[1:], numbers))
    head = array(_WIDE, (len(part), len(names), counts.itemsize))
    return zlib.compress(b"".join((head.tobytes(), names, counts.tobytes(), gaps.tobytes())), _LEVEL)


class Block:
    """A decompressed block. Most searches for a text need no more of most blocks."""

    def __init__(self, data: bytes) -> None:
        plain = zlib.decompress(data)
        head_end = 3 * array(_WIDE).itemsize
        self._count, length, self._item_size = array(_WIDE, plain[:head_end])
        self._names = plain[head_end : head_end + length]
        self._lists = plain[head_end + length :]

    @cached_property
    def keys(self) -> list[bytes]:
        """The keys in order."""
        return self._names.split(BETWEEN_KEYS)

    @cached_property
    def _gaps(self) -> "tuple[array[int], list[int]]":
        """The gaps of all keys, and by key the position after its own."""
        code = _SHORT if self._item_size == array(_SHORT).itemsize else _WIDE
        lists = array(code, self._lists)
        return lists[self._count :], [0, *accumulate(lists[: self._count])]

    def entries(self) -> Iterator[Entry]:
        """Yield all entries."""
        for at, key in enumerate(self.keys):
            yield key, list(self._numbers(at))

    def numbers(self, wanted: KeyRange) -> Iterator[int]:
        """Yield the numbers of the calls with a key in a range, which may be repeated."""
        if wanted.text not in self._names:
            return
        test = wanted.test
        for at in range(bisect_left(self.keys, wanted.first), bisect_left(self.keys, wanted.end)):
            if test is None or test(self.keys[at]):
                yield from self._numbers(at)

    def _numbers(self, at: int) -> Iterator[int]:
        gaps, bounds = self._gaps
        return accumulate(gaps[bounds[at] : bounds[at + 1]])


def ranges_of(condition: Condition) -> Iterator[KeyRange]:
    """Yield the ranges of a condition."""
    if isinstance(condition, KeyRange):
        yield condition
    else:
        yield from chain.from_iterable(map(ranges_of, condition.conditions))


def blocks_of(fences: Sequence[bytes], wanted: KeyRange) -> range:
    """Return the positions of the blocks that may have keys in a range, among those with some fences."""
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
        return Numbers(set[int]().union(*possible), set[int]().union(*certain))
    return Numbers(set.intersection(*possible), set.intersection(*certain) if condition.is_exact else set())
