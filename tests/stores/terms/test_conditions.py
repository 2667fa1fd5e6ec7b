"""Tests that every call that matches a query has the terms that the query implies, on random calls and queries."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS
from stores.calls.list_query import compile_calls_query
from stores.database import Database, Document
from stores.errors import BadInputError
from stores.query import Query
from stores.query.match_compiler import compile_match
from stores.query.parser import parse_query
from stores.terms import keys
from stores.terms.blocks import (
    Block,
    Entry,
    blocks_of,
    certain_count,
    combine,
    encoded_blocks,
    numbers_of,
    ranges_of,
)
from stores.terms.conditions import AllOf, AnyOf, Condition, KeyRange, implied
from tests.chance import SEED, cases
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.query.generator import Generator
from tests.stores.query.test_against_oracle import disagreement, documents_of, evaluated, found, row_of

QUERIES = cases(900)


def decision(condition: Condition | None, call_keys: Iterable[bytes]) -> bool | None:
    """Return if a call with these keys matches a query with the condition; None if that remains open."""
    match condition:
        case AnyOf(conditions):
            results = [decision(each, call_keys) for each in conditions]
            return True if True in results else None if None in results else False
        case AllOf(conditions, is_exact):
            results = [decision(each, call_keys) for each in conditions]
            return False if False in results else True if is_exact and None not in results else None
        case KeyRange(first, limit, test, is_exact, text):
            within = [key for key in call_keys if first <= key < limit and (test is None or test(key))]
            assert not text or all(key.startswith(first) for key in within)
            has_one = any(text in key[len(first) :] for key in within) if text else bool(within)
            return (is_exact or None) if has_one else False
        case _:
            return None


def decided(condition: Condition | None, documents: Iterable[Document]) -> tuple[set[str], set[str]]:
    """Return the ids of the calls that may match, and of those that are known to match."""
    results = {each["id"]: decision(condition, keys.keys_of(each)) for each in documents}
    possible = {call for call, result in results.items() if result is not False}
    return possible, {call for call, result in results.items() if result is True}


def passing(condition: Condition | None, documents: Iterable[Document]) -> set[str]:
    """Return the ids of the calls that may match."""
    return decided(condition, documents)[0]


@pytest.mark.parametrize(("max_keys", "max_text"), [(keys.MAX_KEYS, keys.MAX_TEXT), (4, 8)])
async def test_every_matching_call_has_the_terms_of_the_query(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch, max_keys: int, max_text: int
) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", max_keys)
    monkeypatch.setattr(keys, "MAX_TEXT", max_text)
    generator = Generator(SEED + max_keys)
    documents = await documents_of(calls, database, generator)
    rows = [row_of(document) for document in documents]
    narrowed, matched, passed, known = 0, 0, 0, 0

    for _ in range(QUERIES):
        tree = generator.query(rows)
        operation = compile_calls_query(Query(tree), CALL_FIELDS, PROJECT)
        condition = implied(operation)
        if condition is None:
            continue
        matching = evaluated(operation, documents)
        ids, certain = decided(condition, documents)
        assert matching <= ids, disagreement(tree, {}, rows, matching - ids)
        assert certain <= matching, disagreement(tree, {}, rows, certain - matching)
        narrowed, matched, passed = narrowed + 1, matched + len(matching), passed + len(ids)
        known += len(certain)

    assert narrowed > QUERIES / 4
    assert matched / 8 < known < matched
    # The keys of few members leave most conditions open.
    assert max_keys == 4 or passed < 4 * matched


async def test_the_server_finds_no_call_without_the_terms(calls: CallsStore, database: Database) -> None:
    generator = Generator(SEED + 5)
    documents = await documents_of(calls, database, generator)
    rows = [row_of(document) for document in documents]

    for _ in range(cases(150)):
        tree = generator.query(rows)
        operation = compile_calls_query(Query(tree), CALL_FIELDS, PROJECT)
        matching = await found(database.calls, compile_match(operation))
        ids, certain = decided(implied(operation), documents)
        assert certain <= matching <= ids, disagreement(tree, {}, rows, (matching - ids) | (certain - matching))


LITERALS = (
    *(0, -0.0, 5, 5.0, -3, 1e-7, (1 << 53) + 1, 1 << 53, (1 << 63) - 1, 1 << 63, 10**20, -(10**30), 1e300),
    *(
        "",
        "a",
        "5",
        "x" * 24,
        "x" * 25,
        "x" * 300,
        "xxxxxxxxy",
        "é" * 13,
        "a\0b",
        "\U0010ffff",
        "true",
        "$a",
        True,
        False,
    ),
)


def compared(operator: str, literal: object, to: str | None) -> Any:
    """Return a comparison of a field of calls with a literal."""
    field: Any = {"$getField": "inputs.list.1.a\\.b"}
    operand = {"$convert": {"input": field, "to": to}} if to else field
    literals = [{"$literal": literal}, {"$literal": 7}] if operator == "$in" else {"$literal": literal}
    return {operator: [operand, literals]}


async def test_comparisons_of_each_pair_of_values_keep_their_matches(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MAX_TEXT", 24)
    await calls.write([start(n, inputs={"list": [0, {"a.b": value}]}) for n, value in enumerate(LITERALS)])
    documents = await database.calls.find({}).to_list(None)
    tried = 0

    for literal in LITERALS:
        for operator in ("$eq", "$gt", "$gte", "$lt", "$lte", "$startsWith", "$in"):
            for to in (None, "string", "double", "int"):
                tree = compared(operator, literal, to)
                with suppress(BadInputError):  # of a comparison that is never true
                    operation = parse_query({"$expr": tree}, CALL_FIELDS)
                    matching = evaluated(operation, documents)
                    possible, certain = decided(implied(operation), documents)
                    assert certain <= matching <= possible, tree
                    tried += bool(matching)
    assert tried > 300


EXACT: tuple[tuple[Any, set[int]], ...] = (
    ({"$eq": [{"$getField": "inputs.a"}, {"$literal": 5}]}, {0, 1}),
    ({"$eq": [{"$getField": "inputs.a"}, {"$literal": "5"}]}, {2}),
    ({"$eq": [{"$convert": {"input": {"$getField": "inputs.a"}, "to": "double"}}, {"$literal": 5}]}, {0, 1, 2}),
    ({"$gt": [{"$getField": "inputs.a"}, {"$literal": 5.5}]}, {3}),
    ({"$lt": [{"$literal": 5.5}, {"$getField": "inputs.a"}]}, {3}),
    ({"$startsWith": [{"$getField": "inputs.a"}, {"$literal": "time"}]}, {4, 5}),
    (
        {"$contains": {"input": {"$getField": "inputs.a"}, "substr": {"$literal": "MEO"}, "case_insensitive": True}},
        {4, 5, 6},
    ),
    ({"$exists": {"$getField": "inputs.a"}}, {0, 1, 2, 3, 4, 5, 6}),
    ({"$exists": {"$getField": "inputs.b"}}, {7}),
    ({"$ne": [{"$getField": "inputs.b"}, {"$literal": None}]}, {7}),
    ({"$eq": [{"$getField": "inputs.b.2.c"}, {"$literal": True}]}, {7}),
    ({"$eq": [{"$getField": "output"}, {"$literal": "done"}]}, {8}),
    ({"$and": [{"$exists": {"$getField": "inputs.a"}}, {"$exists": {"$getField": "output"}}]}, set()),
    ({"$in": [{"$getField": "inputs.a"}, [{"$literal": n} for n in range(500)]]}, {0, 1, 3}),
)
"""Queries, with the numbers of the calls that have their terms. A long text may contain any text."""


@pytest.mark.parametrize(("tree", "numbers"), EXACT, ids=str)
async def test_terms_leave_few_candidates(
    calls: CallsStore, database: Database, monkeypatch: pytest.MonkeyPatch, tree: Any, numbers: set[int]
) -> None:
    monkeypatch.setattr(keys, "MAX_TEXT", 24)
    values = (5, 5.0, "5", 6, "timeout", "Timeout: " + "x" * 50, "x" * 50)
    inputs: list[dict[str, object]] = [{"a": value} for value in values]
    inputs[5] = {"a": "timeout: " + "x" * 50}
    await calls.write([start(number, inputs=each) for number, each in enumerate(inputs)])
    await calls.write([start(7, inputs={"b": [None, 1, {"c": True}]}), start(8), end(8, output="done")])
    documents = await database.calls.find({}).to_list(None)

    condition = implied(parse_query({"$expr": tree}, CALL_FIELDS))

    assert condition is not None
    assert passing(condition, documents) == {call_id(number) for number in numbers}


async def test_a_long_list_hides_only_its_own_members(calls: CallsStore, database: Database) -> None:
    inputs = {"vector": [0.5] * 5_000, "a": 1}
    await calls.write([start(0, inputs=inputs), start(1, inputs={"a": 2, "vector": [0.5]})])
    documents = await database.calls.find({}).to_list(None)

    def found_by(path: str, value: object) -> set[str]:
        tree = {"$eq": [{"$getField": path}, {"$literal": value}]}
        return passing(implied(parse_query({"$expr": tree}, CALL_FIELDS)), documents)

    assert found_by("inputs.vector.3000", 7) == {call_id(0)}
    assert found_by("inputs.a", 2) == {call_id(1)}
    assert len(keys.keys_of(documents[0])) < 20


@pytest.mark.parametrize(
    ("block_bytes", "calls_of_segment", "max_fence"),
    [(1, 60, 200), (1, 60, 12), (500, 1 << 20, 8), (32 * 1024, 60, 200)],
)
async def test_blocks_find_the_calls_of_each_condition(
    calls: CallsStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    block_bytes: int,
    calls_of_segment: int,
    max_fence: int,
) -> None:
    monkeypatch.setattr("stores.terms.blocks._BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("stores.terms.blocks._TEXT_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("stores.terms.blocks.MAX_FENCE", max_fence)
    generator = Generator(SEED + 9)
    documents = await documents_of(calls, database, generator)
    rows = [row_of(document) for document in documents]
    call_keys = [keys.keys_of(each) for each in documents]
    encoded = list(encoded_blocks(entries_of(call_keys), calls_of_segment))
    fences = [block.fence for block in encoded]
    assert max(map(len, fences)) <= max_fence
    tried = counted = 0

    for _ in range(cases(400)):
        condition = implied(parse_query(generator.query(rows), CALL_FIELDS))
        if condition is None:
            continue
        runs = {
            each: [run for at in blocks_of(fences, each) for run in Block(encoded[at].data).runs(each)]
            for each in ranges_of(condition)
        }
        numbers = combine(condition, {each: numbers_of(of_range) for each, of_range in runs.items()})
        results = [decision(condition, each) for each in call_keys]
        count = certain_count(condition, {each: sum(map(len, of_range)) for each, of_range in runs.items()})
        assert count in (None, len(numbers.certain))
        assert count is None or len(numbers.certain) == len(numbers.possible)
        counted += bool(count)
        assert numbers.possible == {number for number, each in enumerate(results) if each is not False}
        assert numbers.certain == {number for number, each in enumerate(results) if each is True}
        tried += bool(numbers.possible)
    assert tried > 10
    assert counted > 2
    stored = [(key, list(numbers)) for block in encoded for key, numbers in Block(block.data).entries()]
    assert stored == entries_of(call_keys)


def entries_of(call_keys: Sequence[Iterable[bytes]]) -> list[Entry]:
    """Return the entries of some calls' keys in order."""
    every = sorted({key for each in call_keys for key in each})
    return [(key, [number for number, each in enumerate(call_keys) if key in each]) for key in every]
