"""Blocks and pages of fences give what all keys in order give, on random keys and ranges; and how much they read."""

from random import Random

import pytest

from stores import times
from stores.hours import DAYS
from stores.terms import blocks, reads, segments
from stores.terms.blocks import BETWEEN_KEYS, Block, Entry, blocks_of, encoded_blocks, numbers_of
from stores.terms.conditions import KeyRange
from stores.terms.keys import LEFT_OUT, NUMBER, TEXT
from tests.chance import SEED, cases

LETTERS = ("a", "b", "ab", "é", "\0", ".", "aaa")
PATHS = (b"a", b"a.a", b"ab", b"b")


def random_entries(rng: Random, calls: int) -> list[Entry]:
    """Return entries in order, most of them of texts at few paths."""
    found, numbers = {random_key(rng) for _ in range(rng.randrange(1, 60))}, rng.choice(((1,), (1, 1, 2, 5)))
    return [(key, sorted(rng.sample(range(calls), rng.choice(numbers)))) for key in sorted(found)]


def random_key(rng: Random) -> bytes:
    path = rng.choice(PATHS)
    return rng.choice((LEFT_OUT + path, path + NUMBER + b"%016x" % rng.randrange(9), *(8 * [random_text_key(rng)])))


def random_text_key(rng: Random) -> bytes:
    return rng.choice(PATHS) + TEXT + random_text(rng)


def random_text(rng: Random) -> bytes:
    return "".join(rng.choice(LETTERS) for _ in range(rng.randrange(7))).encode()


def random_range(rng: Random, entries: list[Entry]) -> KeyRange:
    """Return a range of one key, of a path's texts, of a path, or any other one."""
    path, key = rng.choice(PATHS), rng.choice([rng.choice(entries)[0], random_key(rng)])
    texts = path + TEXT, path + TEXT + b"\xff"
    digit = rng.choice((b"a", b"b", b"0"))
    first, end = sorted((key, random_key(rng)))
    return rng.choice(
        (
            KeyRange(key, key + b"\0"),
            KeyRange(*texts, text=random_text(rng)),
            KeyRange(*texts),
            KeyRange(*texts, test=lambda each: digit in each),
            KeyRange(path + b"\0", path + b"\1"),
            KeyRange(first, end),
            KeyRange(first, end, test=lambda each: digit in each),
        )
    )


def counts(key: bytes, wanted: KeyRange) -> bool:
    """Return whether calls with a key are in a range."""
    is_within = wanted.first <= key < wanted.end and (wanted.test is None or wanted.test(key))
    return is_within and wanted.text in key[len(wanted.first) :]


@pytest.mark.parametrize("calls", [60, 1 << 17])
def test_blocks_find_the_keys_of_random_ranges(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    rng, several = Random(SEED + calls), 0
    for _ in range(cases(300)):
        size = rng.choice((1, 40, 200, 1_000_000))
        monkeypatch.setattr(blocks, "_BLOCK_BYTES", size)
        monkeypatch.setattr(blocks, "_TEXT_BLOCK_BYTES", size)
        entries = random_entries(rng, calls)
        encoded = list(encoded_blocks(entries, calls))
        fences = [each.fence for each in encoded]
        several += len(encoded) > 1
        stored = [(key, list(numbers)) for each in encoded for key, numbers in Block(each.data).entries()]
        assert stored == entries
        for _ in range(10):
            wanted = random_range(rng, entries)
            runs = [run for at in blocks_of(fences, wanted) for run in Block(encoded[at].data).runs(wanted)]
            number = sum(Block(encoded[at].data).number(wanted) for at in blocks_of(fences, wanted))
            expected = [numbers for key, numbers in entries if counts(key, wanted)]
            assert number == sum(map(len, expected)), wanted
            assert list(map(len, runs)) == list(map(len, expected)), wanted
            assert numbers_of(runs) == {number for numbers in expected for number in numbers}, wanted
    assert several > cases(100)


def test_blocks_end_with_enough_keys_or_bytes() -> None:
    def sizes(length: int, count: int) -> list[int]:
        entries = ((b"p\0s%0*d" % (length, number), [number]) for number in range(count))
        return [len(list(Block(each.data).entries())) for each in encoded_blocks(entries, count)]

    assert sizes(1_000, 300) == [130, 130, 40]  # 128 KiB
    assert sizes(100, 1_200) == [512, 512, 176]
    assert sizes(20, 3_000)[0] == 32 * 1024 // 24


def head_of(fences: list[bytes], size: int) -> tuple[dict[str, object], dict[str, bytes]]:
    """Return a head with pages of so many fences, and the pages by their keys."""
    pages = [fences[at : at + size] for at in range(0, len(fences), size)]
    head = {"project_id": "p", "segment": "s", "calls": 9, "unit": DAYS, "start": 0, "has_pages": True}
    by_key = {segments.page_id("p", "s", at): BETWEEN_KEYS.join(page) for at, page in enumerate(pages)}
    return head | {"fences": BETWEEN_KEYS.join([page[0] for page in pages])}, by_key


def test_pages_of_fences_lead_to_the_blocks_of_all_fences(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Random(SEED)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(blocks, "_TEXT_BLOCK_BYTES", 1)
    for _ in range(cases(200)):
        monkeypatch.setattr(blocks, "MAX_FENCE", rng.choice((3, 5, 200)))
        size = rng.choice((1, 2, 7))
        monkeypatch.setattr(reads, "FENCES_PER_PAGE", size)
        entries = random_entries(rng, 60)
        fences = [each.fence for each in encoded_blocks(entries, 60)]
        head, pages = head_of(fences, size)
        for _ in range(10):
            wanted = random_range(rng, entries)
            segment = reads._Segment(head, set(), wanted, {wanted}, (times.FIRST, times.LAST))
            needed = [*segment.page_keys()]
            assert len(needed) <= 2
            segment.add_pages({key: pages[key] for key in needed})
            assert sorted(at for _, at in segment.blocks()) == [*blocks_of(fences, wanted)], wanted
