"""Blocks: the keys of a segment in order, each with the numbers of its calls, in parts of some kilobytes.

A reader finds the blocks of a range of keys by their first keys, decompresses them, and bisects. Numbers are stored as
gaps: the key of a value that most calls have takes nearly nothing.
"""

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import sub
from typing import Final, NamedTuple

from stores.terms.conditions import AnyOf, Condition, KeyRange

Entry = tuple[bytes, Sequence[int]]
"""A key, and the numbers of its calls in order."""

_BLOCK_BYTES: Final = 32 * 1024
"""Bytes of a block before compression; only a block of one key may be larger."""

BETWEEN_KEYS: Final = b"\xff"
"""Separator of keys and fences, a byte that none has."""

_LEVEL: Final = 3
"""Level of compression: 6 takes 6 % less space, and twice the time."""

_SHORT, _WIDE = "H", "I"
_SHORT_LIMIT: Final = 1 << 16


class EncodedBlock(NamedTuple):
    """A block, and a text greater than each key before it but not than its own."""

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
    """Return the shortest prefix of `first` that is greater than `last`."""
    common = next((at for at, pair in enumerate(zip(last, first, strict=False)) if pair[0] != pair[1]), len(last))
    return first[: common + 1]


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
    """A decoded block."""

    __slots__ = ("_counts", "_ends", "_gaps", "keys")

    def __init__(self, data: bytes) -> None:
        plain = zlib.decompress(data)
        head_end = 3 * array(_WIDE).itemsize
        count, length, item_size = array(_WIDE, plain[:head_end])
        code = _SHORT if item_size == array(_SHORT).itemsize else _WIDE
        names_end = head_end + length
        counts_end = names_end + item_size * count
        self.keys = plain[head_end:names_end].split(BETWEEN_KEYS)
        self._counts = array(code, plain[names_end:counts_end])
        self._ends = list(accumulate(self._counts))
        self._gaps = array(code, plain[counts_end:])

    def entries(self) -> Iterator[Entry]:
        """Yield all entries."""
        for at, key in enumerate(self.keys):
            yield key, list(self._numbers(at))

    def numbers(self, wanted: KeyRange) -> Iterator[int]:
        """Yield the numbers of the calls with a key in a range, which may be repeated."""
        test = wanted.test
        for at in range(bisect_left(self.keys, wanted.first), bisect_left(self.keys, wanted.end)):
            if test:
                value = self.keys[at].partition(b"\0")[2]
                if not test(b"\0" + value[:1], value[1:]):
                    continue
            yield from self._numbers(at)

    def _numbers(self, at: int) -> Iterator[int]:
        end = self._ends[at]
        return accumulate(self._gaps[end - self._counts[at] : end])


def blocks_of(fences: Sequence[bytes], condition: Condition) -> set[int]:
    """Return the positions of the blocks that a condition needs, among those with some fences."""
    if not isinstance(condition, KeyRange):
        return set[int]().union(*(blocks_of(fences, each) for each in condition.conditions))
    return {*range(max(0, bisect_right(fences, condition.first) - 1), bisect_left(fences, condition.end))}


class Numbers(NamedTuple):
    """The numbers of the calls that may match, and of those among them that are known to match."""

    possible: set[int]
    certain: set[int]


def find_numbers(condition: Condition, fences: Sequence[bytes], blocks: Mapping[int, Block]) -> Numbers:
    """Return the numbers of the calls that satisfy a condition, from the blocks that it needs."""
    if isinstance(condition, KeyRange):
        found: set[int] = set()
        for position in blocks_of(fences, condition):
            found.update(blocks[position].numbers(condition))
        return Numbers(found, found if condition.is_exact else set())
    each = (find_numbers(inner, fences, blocks) for inner in condition.conditions)
    if isinstance(condition, AnyOf):
        pairs = list(each)
        return Numbers(set[int]().union(*(one for one, _ in pairs)), set[int]().union(*(one for _, one in pairs)))
    possible, certain = next(each)
    for other in each:
        possible, certain = possible & other.possible, certain & other.certain
        if not possible:
            break
    return Numbers(possible, certain if condition.is_exact else set())
