"""Sketches of latencies: their numbers per bucket, from which percentiles follow with a relative error of at most 1 %.

The bounds of buckets grow by 2 %, as in DDSketch (Masson, Rim and Lee: DDSketch, VLDB 2019, section 2). Sketches merge
by addition, so that of a day has the error of those of its hours. Latencies are whole numbers of milliseconds: zero and
numbers up to 50, which have buckets of their own, are exact. Negative latencies have the buckets of their absolutes.

A stored sketch begins with the bytes of one count:

    1, 2, 4, 8  the first bucket follows in two bytes, then the counts of all buckets up to the last one
    0           the bucket of each latency follows in two bytes, as few latencies are far apart
"""

import math
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Final, Self

from stores.database import Document

ERROR: Final = 0.01
"""Relative error of percentiles."""

_GROWTH: Final = 1.02
"""Quotient of a bucket's bounds. Its mean differs from them by 0.991 %, which leaves room for rounding errors."""

_MAX_BUCKET: Final = 2_300
"""Bucket of all greater numbers; that of the greatest 64-bit integer is 2,207."""

_WIDTHS: Final = (1, 2, 4, 8)

_LANE: Final = 8
"""Bytes of a count in a sum."""

Part = bytes | Document
"""A stored sketch, or the number `n` of latencies in the bucket `at`, which is null for calls without a latency."""


def bucket_expression(number: str) -> Document:
    """Build the bucket of a number, whose sign it has; null for other values."""
    # A double: MongoDB has no absolute of the least integer.
    logarithm = {"$ln": {"$abs": {"$multiply": [number, 1.0]}}}
    above = {"$ceil": {"$divide": [logarithm, math.log(_GROWTH)]}}
    # In MongoDB's order NaN is the least number.
    bucket = {"$min": [_MAX_BUCKET, {"$max": [1, {"$add": [1, above]}]}]}
    signed = {"$cond": [{"$lt": [number, 0]}, {"$multiply": [-1, bucket]}, bucket]}
    return {"$cond": [{"$isNumber": number}, {"$cond": [{"$eq": [number, 0]}, 0, signed]}, None]}


class Sketch:
    """The sum of parts.

    Attributes:
        least: the least latency; percentiles are within it and `most`.
        most: the greatest latency.
    """

    def __init__(self) -> None:
        self.least, self.most = math.inf, -math.inf
        # Python adds the counts of many buckets at once: they are 64 bits each of one integer.
        self._first = 0
        self._counts = 0
        self._single: list[bytes] = []

    def add(self, parts: Iterable[Part], least: float | None = None, most: float | None = None) -> Self:
        """Add parts, and their least and greatest latency if there is one; return the sketch."""
        if least is not None and most is not None:
            self.least, self.most = min(self.least, least), max(self.most, most)
        for part in parts:
            if isinstance(part, bytes):
                self._add_stored(part)
            elif part["n"]:
                self._add(int(part["at"]), part["n"])
        return self

    def _add_stored(self, stored: bytes) -> None:
        width = stored[0]
        if not width:
            self._single.append(stored[1:])
            return
        lanes = bytearray((len(stored) - 3) // width * _LANE)
        for position in range(width):
            lanes[position::_LANE] = stored[3 + position :: width]
        self._add(int.from_bytes(stored[1:3], "little", signed=True), int.from_bytes(lanes, "little"))

    def _add(self, first: int, counts: int) -> None:
        if not self._counts:
            self._first = first
        elif first < self._first:
            self._counts <<= 8 * _LANE * (self._first - first)
            self._first = first
        self._counts += counts << 8 * _LANE * (first - self._first)

    @property
    def counts(self) -> Mapping[int, int]:
        """The numbers of latencies by bucket, sorted by bucket."""
        sums = self._sums()
        return {bucket: count for bucket, count in enumerate(sums, self._first) if count}

    def _sums(self) -> Sequence[int]:
        """Return the numbers of latencies of all buckets from `_first` on."""
        single = self._single_buckets()
        if single and (least := min(single)) < self._first:
            self._add(least, 0)
        lanes = -(-self._counts.bit_length() // (8 * _LANE))
        sums = [*struct.unpack(f"<{lanes}Q", self._counts.to_bytes(_LANE * lanes, "little"))]
        sums += [0] * (max(single, default=self._first) - self._first + 1 - lanes)
        for bucket in single:
            sums[bucket - self._first] += 1
        return sums

    def _single_buckets(self) -> Sequence[int]:
        stored = b"".join(self._single)
        return struct.unpack(f"<{len(stored) // 2}h", stored)

    def stored(self) -> bytes | None:
        """Return the bytes to store; None without latencies."""
        counts = self.counts
        if not counts:
            return None
        buckets = range(min(counts), max(counts) + 1)
        total, most = sum(counts.values()), max(counts.values())
        width = next(width for width in _WIDTHS if most < 1 << 8 * width)
        if 2 * total <= 2 + width * len(buckets):
            return b"\0" + struct.pack(f"<{total}h", *Counter(counts).elements())
        every = b"".join(counts.get(bucket, 0).to_bytes(width, "little") for bucket in buckets)
        return bytes([width]) + struct.pack("<h", buckets[0]) + every

    def percentiles(self, percents: Sequence[int]) -> list[float | None]:
        """Return percentiles, interpolated as exact ones are; None without latencies."""
        total, bucket_at = self._ordered()
        if not total:
            return [None for _ in percents]
        last = total - 1

        def at(rank: int) -> float:
            if rank in (0, last):
                return self.most if rank else self.least
            return min(self.most, max(self.least, _value(bucket_at(rank))))

        found: list[float | None] = []
        for percent in percents:
            rank, hundredths = divmod(percent * last, 100)
            lower = at(rank)
            found.append(lower + (at(rank + 1) - lower) * hundredths / 100 if hundredths else lower)
        return found

    def _ordered(self) -> tuple[int, Callable[[int], int]]:
        """Return the number of latencies, and the bucket of each by its rank."""
        if not self._counts:  # as in most hours
            ordered = sorted(self._single_buckets())
            return len(ordered), ordered.__getitem__
        up_to = [*accumulate(self._sums())]
        return up_to[-1], lambda rank: self._first + bisect_right(up_to, rank)


@cache
def _value(bucket: int) -> float:
    """Return the number that differs from all whole numbers of a bucket by at most `ERROR`."""
    if bucket <= 0:
        return -_value(-bucket) if bucket else 0.0
    least, most = _GROWTH ** (bucket - 2), _GROWTH ** (bucket - 1)
    first, last = math.floor(least) + 1, math.floor(most)
    if first > last:  # another program has stored a fraction
        return 2 * least * most / (least + most)
    return 2 * first * last / (first + last)
