"""Tests that schemas of untrusted clients stay within limits of time and memory for any value."""

import tracemalloc

import pytest

from stores.json_schema import SchemaFaultError, bounded_time, compiled_pattern
from tests.stores.json_schema.verdicts import DOUBLING, DRAFT_7, verdict

HOSTILE = "^(a+)+$"
LARGE = "(.{1,20}){1,20}"


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": HOSTILE},
        {
            "properties": {"a": {"$schema": DRAFT_7, "pattern": HOSTILE}},
            "items": {"$schema": DRAFT_7, "pattern": HOSTILE},
        },
        {"patternProperties": {HOSTILE: False}, "additionalProperties": True},
        {"patternProperties": {HOSTILE: False}, "additionalProperties": {}},
        {"$schema": DRAFT_7, "propertyNames": {"pattern": HOSTILE}},
        {"contains": {"pattern": HOSTILE}},
    ],
)
def test_catastrophic_pattern_is_stopped(schema: object) -> None:
    text = "a" * 5_000 + "!"  # Python's own `re` would take 2^5000 steps

    verdicts = [verdict(schema, value) for value in (text, {text: text, "a": text}, [text])]

    assert all(error is None or "does not match its schema" in error.message for error in verdicts)


@pytest.mark.parametrize(
    "schema",
    [
        DOUBLING,
        {"properties": {"a": DOUBLING["$defs"]}, **DOUBLING},
        {"$defs": DOUBLING["$defs"], "properties": {"a": {"$schema": DRAFT_7, "$ref": "#/$defs/a0"}}},
        {"$defs": DOUBLING["$defs"], "unevaluatedProperties": False, "allOf": [{"$ref": "#/$defs/a0"}]},
        {
            "unevaluatedProperties": False,
            "$ref": "#/$defs/d0",
            "$defs": {
                f"d{n}": {"dependentSchemas": {key: {"$ref": f"#/$defs/d{n + 1}"} for key in "ab"}} for n in range(40)
            }
            | {"d40": {}},
        },
    ],
)
def test_exponential_schema_ends_in_time(schema: object) -> None:
    error = verdict(schema, {"a": 1, "b": 1}, seconds=0.2)

    assert isinstance(error, SchemaFaultError)
    assert error.message == "takes more than 2 seconds to check; simplify the schema, or send less per request"


@pytest.mark.parametrize("other", [{}, {"additionalProperties": False}])
def test_many_patterns_over_many_names_end_in_time(other: dict[str, object]) -> None:
    patterns = [*(f"^x{number}$" for number in range(99)), "^a"]
    names = {f"a{number}": 1 for number in range(60_000)}

    error = verdict(other | {"patternProperties": dict.fromkeys(patterns, True)}, names, seconds=0.2)

    assert isinstance(error, SchemaFaultError)
    assert "takes more than 2 seconds" in error.message


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        ([f"^a{number}$" for number in range(101)], "has more than 100 patterns; use fewer"),
        ([f"{LARGE}{number}" for number in range(20)], "has patterns of more than 50,000 states in total, up to"),
    ],
)
def test_number_of_patterns_is_limited(patterns: list[str], says: str) -> None:
    known: object = {"patternProperties": dict.fromkeys(patterns, True)}
    unknown = {"$ref": "#/x", "x": {"properties": {name: {"pattern": name} for name in patterns}}}
    twice = {"allOf": [{"pattern": pattern} for pattern in patterns[:10]] * 10}

    assert [says in str(verdict(schema, {"b": 1}, seconds=20)) for schema in (known, unknown)] == [True, True]
    assert verdict(twice, 1, seconds=20) is None


def test_pattern_cache_is_limited() -> None:
    with bounded_time(20):
        first = compiled_pattern("^0$")
        assert compiled_pattern("^0$") is first
        for number in range(300):
            compiled_pattern(f"^{number}$")
            assert compiled_pattern("^0$") is first

    # RE2 takes at most half a megabyte for each.
    assert compiled_pattern.cache_info().currsize == 200


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [False] * 300}, "x" * 1_000_000),
        ({"oneOf": [False] * 300}, "x" * 1_000_000),
        ({"anyOf": [{"type": "integer", "title": str(number)} for number in range(300)]}, "x" * 1_000_000),
        ({"anyOf": [{"items": {"type": "string"}}]}, [0] * 50_000),
        ({"unevaluatedProperties": False, "anyOf": [{"maxProperties": 9}, *[False] * 300]}, {"a": "x" * 1_000_000}),
    ],
)
def test_validation_stops_at_the_first_error(schema: object, value: object) -> None:
    tracemalloc.start()
    error = verdict(schema, value, seconds=60)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "does not match its schema" in str(error)
    assert most < 20_000_000


class Number(int):
    """An integer that counts its comparisons."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Number.compared += 1
        return int(self) == other

    __hash__ = int.__hash__


def test_numbers_with_equal_hashes_are_compared_fast() -> None:
    numbers = [Number(number * (2**61 - 1)) for number in range(1, 500)]  # CPython's hashes are modulo 2^61 - 1

    assert {hash(number) for number in numbers} == {0}
    assert verdict({"uniqueItems": True}, numbers, seconds=20) is None
    assert Number.compared < 1_000


def test_long_lists_of_mixed_types_are_compared_fast() -> None:
    items: list[object] = [[number, str(number), {"n": number}] for number in range(20_000)]

    assert verdict({"uniqueItems": True}, items, seconds=20) is None
    assert "has equal items" in str(verdict({"uniqueItems": True}, [*items, items[5]], seconds=20))
