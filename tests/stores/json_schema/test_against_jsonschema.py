"""Tests that results for random schemas and values equal those of the jsonschema package."""

import random
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft6Validator, Draft7Validator, Draft201909Validator, Draft202012Validator
from jsonschema.protocols import Validator

from tests.stores.json_schema.verdicts import verdict

DRAFTS = [Draft4Validator, Draft6Validator, Draft7Validator, Draft201909Validator, Draft202012Validator]


@pytest.mark.parametrize("draft", DRAFTS)
def test_results_equal_those_of_jsonschema(draft: type[Validator]) -> None:
    dice = random.Random(6)
    passed = 0
    for _ in range(400):
        schema: Any = {"$schema": draft.META_SCHEMA.get("$id") or draft.META_SCHEMA.get("id"), **_schema(dice, 3)}
        value = _value(dice, 3)
        if not draft(draft.META_SCHEMA).is_valid(schema):
            continue  # older drafts require that the values in `enum` are unique
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
        # These units are exact doubles. jsonschema divides doubles and therefore takes 0.3 for no multiple of 0.1.
        "multipleOf": lambda: dice.choice([1, 2, 0.5, 2.5, 0.25]),
        "uniqueItems": lambda: True,
        "items": inner,
        "properties": lambda: {key: inner() for key in dice.sample(keys, 2)},
        "patternProperties": lambda: {dice.choice(["^a", "b$"]): inner()},
        "additionalProperties": lambda: dice.choice([False, True, inner()]),
        "required": lambda: dice.sample(keys, 1),
        "anyOf": lambda: [inner(), inner()],
        "oneOf": lambda: [inner(), inner()],
        "not": inner,
    }
    return {name: makers[name]() for name in dice.sample(sorted(makers), dice.randint(0, 2))}


def _value(dice: random.Random, depth: int) -> Any:
    plain = [0, 1, 1.0, 2.5, 0.75, True, False, None, "", "a", "ab", "1", "b"]
    kind = dice.random() if depth else 1
    if kind < 0.3:
        return [_value(dice, depth - 1) for _ in range(dice.randint(0, 3))]
    if kind < 0.75:
        return {key: _value(dice, depth - 1) for key in dice.sample(["a", "b", "ab", "1", "c"], dice.randint(0, 3))}
    return dice.choice(plain)
