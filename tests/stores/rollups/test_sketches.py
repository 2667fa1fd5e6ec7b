"""Percentiles of sketches are within 1 % of exact ones, for latencies of any size and sign."""

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from bson import Decimal128, Int64

from stores.database import Database, Document
from stores.rollups.documents import LATENCIES, with_buckets
from stores.rollups.sketches import ERROR, Part, Sketch
from tests.chance import SEED, cases
from tests.stores.aggregates.oracle import percentile
from tests.stores.rollups.model import assert_near

PERCENTS = (0, 1, 50, 95, 99, 100)
FAR = 10**15

DISTRIBUTIONS: tuple[Callable[[Random], int], ...] = (
    lambda _: 0,
    lambda _: 7_919,
    lambda rng: rng.choice((1, FAR)),
    lambda rng: rng.choice((-3, 0, 0, 2)),
    lambda rng: rng.randrange(60),
    lambda rng: rng.randrange(-5_000, 5_000),
    lambda rng: -rng.randrange(FAR),
    lambda rng: int(10 ** rng.uniform(0, 15)),
    lambda rng: rng.choice((-1, 1)) * int(10 ** rng.uniform(0, 15)),
    lambda rng: int(rng.lognormvariate(6, 2)),
    lambda rng: min(FAR, int(100 * rng.paretovariate(0.3))),
    lambda rng: 120 if rng.random() < 0.98 else rng.randrange(FAR),
    lambda rng: round(1.02 ** rng.randrange(1_700)),
)


async def parts_of(database: Database, groups: Sequence[Sequence[object]]) -> list[list[Document]]:
    """Return the parts of a sketch that MongoDB counts for each group of values."""
    documents = [
        {"of": number, "latency_ms": value, "ended": 1} for number, values in enumerate(groups) for value in values
    ]
    stages: list[dict[str, Any]] = [{"$documents": documents}, *with_buckets("$of", {"count": {"$sum": 1}})]
    rows = await database.calls.database.aggregate(stages).to_list(None)
    found = {row["_id"]: row[LATENCIES] for row in rows}
    assert sum(row["count"] for row in rows) == len(documents)
    return [found.get(number, []) for number in range(len(groups))]


def stored(*parts: Part) -> bytes:
    """Return the stored sum of parts."""
    sketch = Sketch().add(parts).stored()
    assert sketch
    return sketch


async def test_percentiles_of_any_latencies_are_within_the_error(database: Database) -> None:
    rng, hours, days = Random(SEED), list[list[int]](), list[list[list[int]]]()
    for _ in range(cases(12)):
        for draw in DISTRIBUTIONS:
            sizes = [rng.choice((1, 2, 3, 20, 150)) for _ in range(rng.choice((1, 1, 2, 6)))]
            days.append([[draw(rng) for _ in range(size)] for size in sizes])
            hours += days[-1]

    counted = iter(await parts_of(database, hours))
    for of_hours in days:
        values = [value for hour in of_hours for value in hour]
        live, settled = list[Part](), list[bytes]()
        for hour in of_hours:
            parts = next(counted)
            if rng.random() < 0.3:
                live += parts
            else:
                settled.append(stored(*parts))
                assert len(settled[-1]) <= 1 + 2 * len(hour)
        by_day = [stored(*settled)] if settled and rng.random() < 0.5 else settled
        every = [*live, *by_day]
        rng.shuffle(every)

        sketch = Sketch().add(every, min(values), max(values))

        assert sum(sketch.counts.values()) == len(values)
        for percent, found in zip(PERCENTS, sketch.percentiles(PERCENTS), strict=True):
            assert_near(found, values, percent)
            if max(map(abs, values)) <= 50:
                assert found == pytest.approx(percentile(values, percent), rel=1e-14)


@pytest.mark.parametrize("value", [0, 1, -1, 50, -50, 120_000, FAR, -FAR])
async def test_one_value_and_two_are_exact(database: Database, value: int) -> None:
    one, two = await parts_of(database, [[value] * 101, [value, value + 1_000]])

    assert Sketch().add(one, value, value).percentiles(PERCENTS) == [value] * len(PERCENTS)
    assert Sketch().add(two, value, value + 1_000).percentiles((0, 50, 100)) == [value, value + 500, value + 1_000]


async def test_whole_numbers_to_fifty_have_buckets_of_their_own(database: Database) -> None:
    numbers = range(-50, 51)
    [parts] = await parts_of(database, [numbers])

    # Bounds beyond the numbers do not help.
    assert Sketch().add(parts, -99, 99).percentiles(range(1, 100)) == [*range(-49, 50)]


async def test_odd_numbers_of_other_programs_are_counted(database: Database) -> None:
    least = Int64(-(1 << 63))
    odd = [1e-6, 3.3, 1e300, math.inf, -math.inf, math.nan, least, Int64((1 << 63) - 1), Decimal128("1E+6000"), True]
    [parts, fractions] = await parts_of(database, [odd, [3.3] * 3])

    sketch = Sketch().add([stored(*parts)])

    assert sum(sketch.counts.values()) == len(odd) - 1  # True is no number
    assert [*sketch.counts] == sorted(sketch.counts)
    assert Sketch().add(fractions, 0, 9).percentiles((50,)) == [pytest.approx(3.3, rel=ERROR)]


@pytest.mark.parametrize("count", [1, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, 1 << 40])
def test_counts_of_any_size_are_stored(count: int) -> None:
    parts: list[Part] = [{"at": -3, "n": 1}, {"at": 5, "n": count}, {"at": 6, "n": 0}, {"at": None, "n": 0}]

    kept = stored(*parts)

    assert Sketch().add([kept, kept]).counts == {-3: 2, 5: 2 * count}
    assert len(kept) == (5 if count == 1 else 3 + 9 * next(width for width in (1, 2, 4, 8) if count < 256**width))


def test_sketch_of_nothing_is_not_stored_and_has_no_percentiles() -> None:
    sketch = Sketch().add([{"at": None, "n": 0}], None, None)

    assert sketch.stored() is None
    assert sketch.percentiles(PERCENTS) == [None] * len(PERCENTS)


def test_order_of_parts_does_not_matter() -> None:
    parts: list[Part] = [{"at": at, "n": abs(at) + 1} for at in (-2_207, 2_207, 0, 1, -1, 300, 299)]
    assert Sketch().add(parts).counts == Sketch().add([stored(*parts[3:]), *parts[2::-1]]).counts
