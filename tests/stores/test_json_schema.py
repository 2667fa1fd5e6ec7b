"""Schemas of strangers: the same verdicts as jsonschema's own, but nothing is fetched, and nothing takes forever."""

import random
import urllib.request
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft7Validator, Draft202012Validator
from jsonschema.protocols import Validator

from stores.errors import BadInputError
from stores.json_schema import JsonSchema, bounded_time

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
HOSTILE = "^(a+)+$"
DOUBLING = {
    "$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)} | {"a40": {}},
    "$ref": "#/$defs/a0",
}


def verdict(schema: object, value: object, seconds: float = 2.0) -> BadInputError | None:
    with bounded_time(seconds):
        try:
            JsonSchema(schema).check(value)
        except BadInputError as error:
            return error
    return None


@pytest.mark.parametrize(
    ("schema", "value", "argument", "says"),
    [
        ({"type": "integer"}, "five", None, "'five' is not of type 'integer'"),
        (
            {"type": "object", "properties": {"scores": {"items": {"maximum": 5}}}},
            {"scores": [1, 9]},
            "scores.1",
            "9 is greater than the maximum of 5",
        ),
        ({"properties": {"a.b": {"type": "string"}}}, {"a.b": 1}, r"a\.b", "is not of type 'string'"),
        ({"enum": ["good", "bad"]}, "ugly", None, "is not one of"),
        ({"pattern": "^[a-z]+$"}, "ABC", None, "'ABC' does not match '^[a-z]+$'"),
        ({"additionalProperties": False, "properties": {"a": {}}}, {"a": 1, "b": 2}, "b", "there is no property 'b'"),
        ({"patternProperties": {"^x": {"type": "number"}}}, {"x1": "y"}, "x1", "is not of type 'number'"),
        ({"uniqueItems": True}, [1, {"a": [2]}, {"a": [2.0]}], None, "has items that are equal"),
        ({"type": "string", "maxLength": 2}, "x" * 100_000, None, "is too long"),
    ],
)
def test_a_value_that_breaks_its_schema_is_told_where(
    schema: object, value: object, argument: str | None, says: str
) -> None:
    error = verdict(schema, value)

    assert error is not None
    assert error.argument == argument
    assert "breaks its schema" in error.message
    assert len(error.message) < 400
    assert says in error.message or len(str(value)) > 1000


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"uniqueItems": True}, [1, True, 0, False, "1", [1], [True], None]),
        ({"$ref": "#/$defs/score", "$defs": {"score": {"type": "integer"}}}, 4),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "object"}),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 5, "exclusiveMaximum": True}, 4),
        ({"$schema": DRAFT_7, "items": [{"type": "string"}], "additionalItems": False}, ["a"]),
        ({"format": "email"}, "nobody"),
        ({"pattern": r"^\p{L}+$"}, "naïve"),
    ],
)
def test_a_value_that_keeps_its_schema_passes(schema: object, value: object) -> None:
    assert verdict(schema, value) is None


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "integr"}, "is no JSON Schema at type"),
        ({"properties": {"a": {"minimum": "one"}}}, r"is no JSON Schema at properties.a.minimum"),
        ({"$schema": 5}, "is no JSON Schema at $schema"),
        ({"$schema": "http://["}, "is no JSON Schema at $schema"),
        (True, "which is an object"),
        ({"unevaluatedProperties": False, "allOf": [{"patternProperties": {HOSTILE: {}}}]}, "cannot be checked here"),
    ],
)
def test_what_is_no_schema_is_refused(schema: object, says: str) -> None:
    assert says in str(verdict(schema, {}))


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        ({"pattern": "(?=a)b"}, "b", "no lookaround and no backreferences"),
        ({"pattern": "("}, "b", "the pattern '(' is none of RE2's"),
        ({"pattern": "(a{0,100}b{0,100}){0,9}"}, "ab" * 100_000, "is too long for the pattern"),
        ({"$ref": "#"}, 1, "a $ref leads in a circle"),
        ({"items": {"$ref": "#"}}, "deep", "nest too deeply"),
        ({"$ref": "#/x", "x": {"minimum": "a"}}, 1, "or to what is none"),
        ({"$ref": "#/enum/0", "enum": ["x"]}, "x", "or to what is none"),
        ({"$ref": "#/nowhere"}, 1, "a $ref leads out of its schema"),
        ({"$id": "http://[", "$ref": "other"}, 1, "leads out of its schema"),
    ],
)
def test_what_cannot_be_checked_is_refused(schema: object, value: object, says: str) -> None:
    if value == "deep":
        value = []
        for _ in range(1000):
            value = [value]

    assert says in str(verdict(schema, value))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$id": "http://127.0.0.1:9/base.json", "properties": {"a": {"$ref": "other.json"}}},
        {"$schema": "http://127.0.0.1:9/meta.json", "$ref": "meta.json#/x"},
    ],
)
def test_nothing_is_fetched(schema: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(urllib.request, "urlopen", asked.append)

    assert "leads out of its schema" in str(verdict(schema, {"a": 1}))
    assert asked == []


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
        {"$schema": "http://json-schema.org/draft-03/schema#", "extends": {"pattern": HOSTILE}},
        {"contains": {"pattern": HOSTILE}},
    ],
)
def test_a_pattern_that_would_take_years_does_not(schema: object) -> None:
    text = "a" * 5_000 + "!"  # over which Python's own takes 2^5000 steps

    verdicts = [verdict(schema, value) for value in (text, {text: text, "a": text}, [text])]

    assert all(error is None or "breaks its schema" in error.message for error in verdicts)


@pytest.mark.parametrize(
    "schema",
    [
        DOUBLING,
        {"properties": {"a": DOUBLING["$defs"]}, **DOUBLING},
        {"$defs": DOUBLING["$defs"], "properties": {"a": {"$schema": DRAFT_7, "$ref": "#/$defs/a0"}}},
        {"$defs": DOUBLING["$defs"], "unevaluatedProperties": False, "allOf": [{"$ref": "#/$defs/a0"}]},
    ],
)
def test_a_schema_that_doubles_itself_ends_in_time(schema: object) -> None:
    assert "takes more than" in str(verdict(schema, {"a": 1}, seconds=0.2))


def test_long_lists_of_many_kinds_are_told_apart_at_once() -> None:
    items: list[object] = [[number, str(number), {"n": number}] for number in range(20_000)]

    assert verdict({"uniqueItems": True}, items, seconds=20) is None
    assert "are equal" in str(verdict({"uniqueItems": True}, [*items, items[5]], seconds=20))


@pytest.mark.parametrize("draft", [Draft4Validator, Draft7Validator, Draft202012Validator])
def test_verdicts_are_those_of_jsonschema_itself(draft: type[Validator]) -> None:
    dice = random.Random(6)  # noqa: S311 -- the same cases each time
    passed = 0
    for _ in range(400):
        schema: Any = {"$schema": draft.META_SCHEMA.get("$id") or draft.META_SCHEMA.get("id"), **_schema(dice, 3)}
        value = _value(dice, 3)
        expected = draft(schema).is_valid(value)

        assert (verdict(schema, value) is None) == expected, (schema, value)
        passed += expected
    assert 80 < passed < 320


def _schema(dice: random.Random, depth: int) -> dict[str, Any]:
    keys = ["a", "b", "ab", "1"]

    def inner() -> dict[str, Any]:
        return _schema(dice, depth - 1) if depth else {}

    makers: dict[str, Any] = {
        "type": lambda: dice.choice(["integer", "number", "string", "boolean", "null", "array", "object"]),
        "enum": lambda: [_value(dice, 1) for _ in range(3)],
        "pattern": lambda: dice.choice(["^a", "b$", "[0-9]", "^(a|b)*$"]),
        "minimum": lambda: dice.randint(-1, 2),
        "uniqueItems": lambda: True,
        "items": inner,
        "properties": lambda: {key: inner() for key in dice.sample(keys, 2)},
        "patternProperties": lambda: {dice.choice(["^a", "b$"]): inner()},
        "additionalProperties": lambda: dice.choice([False, True, inner()]),
        "required": lambda: dice.sample(keys, 1),
        "anyOf": lambda: [inner(), inner()],
        "not": inner,
    }
    return {name: makers[name]() for name in dice.sample(sorted(makers), dice.randint(0, 2))}


def _value(dice: random.Random, depth: int) -> Any:  # noqa: ANN401 -- any JSON
    plain = [0, 1, 1.0, 2.5, True, False, None, "", "a", "ab", "1", "b"]
    kind = dice.random() if depth else 1
    if kind < 0.3:
        return [_value(dice, depth - 1) for _ in range(dice.randint(0, 3))]
    if kind < 0.75:
        return {key: _value(dice, depth - 1) for key in dice.sample(["a", "b", "ab", "1", "c"], dice.randint(0, 3))}
    return dice.choice(plain)
