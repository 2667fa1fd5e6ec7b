"""Tests of schemas of untrusted clients: their results for values, and the schemas that are refused."""

import urllib.request

import pytest

from stores.errors import BadInputError
from stores.json_schema import SchemaFaultError, bounded_time, check_schema
from tests.stores.json_schema.verdicts import DRAFT_7, verdict


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
        (
            {"additionalProperties": False, "properties": {"a": {}}},
            {"a": 1, "b": 2},
            "b",
            "the property 'b' is not allowed",
        ),
        ({"patternProperties": {"^x": {"type": "number"}}}, {"x1": "y"}, "x1", "is not of type 'number'"),
        ({"uniqueItems": True}, [1, {"a": [2]}, {"a": [2.0]}], None, "has equal items"),
        ({"type": "string", "maxLength": 2}, "x" * 100_000, None, "is too long"),
    ],
)
def test_invalid_value_is_reported_with_its_path(
    schema: object, value: object, argument: str | None, says: str
) -> None:
    error = verdict(schema, value)

    assert error is not None
    assert error.argument == argument
    assert "does not match its schema" in error.message
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
def test_valid_value_is_accepted(schema: object, value: object) -> None:
    assert verdict(schema, value) is None


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "integr"}, "is not a JSON Schema at type"),
        ({"properties": {"a": {"minimum": "one"}}}, r"is not a JSON Schema at properties.a.minimum"),
        ({"$schema": 5}, "is not a JSON Schema: its $schema"),
        ({"$schema": "http://["}, "is not a JSON Schema: its $schema"),
        (True, "it must be an object"),
        ({"unevaluatedProperties": False, "allOf": [{"patternProperties": {"(a+)+$": {}}}]}, "which is not supported"),
    ],
)
def test_invalid_schema_is_refused(schema: object, says: str) -> None:
    assert says in str(verdict(schema, {}))


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"pattern": "(?=a)b"}, "'(?=a)b', which RE2 does not support; avoid lookaround and backreferences"),
        ({"properties": {"a": {"patternProperties": {"(": {}}}}}, "has the pattern '(', which RE2 does not support"),
        ({"$ref": "#/x", "x": {"pattern": "("}}, "has the pattern '('"),
        ({"$ref": "#"}, "has a circular $ref"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}}, "circular $ref"),
        ({"$ref": "#/x", "x": {"minimum": "a"}}, "has a $ref to a value that is not a JSON Schema at minimum: 'a' is"),
        ({"$ref": "#/enum/0", "enum": ["x"]}, "has a $ref to a value that is not a JSON Schema: 'x' is not of type"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/y"}}, "y": 5}, "to a value that is not a JSON Schema: 5"),
        ({"$ref": "#/nowhere"}, "has the $ref '#/nowhere', which does not resolve inside the schema"),
        ({"$ref": "#nowhere"}, "has the $ref '#nowhere', which does not resolve"),
        ({"$ref": "#/enum/x", "enum": ["x"]}, "has the $ref '#/enum/x', which does not resolve"),
        ({"$ref": "#/title/0/0/a", "title": "x"}, "has the $ref '#/title/0/0/a', which does not resolve"),
        ({"$dynamicRef": "#nowhere"}, "has the $ref '#nowhere', which does not resolve"),
        ({"$id": "http://[", "$ref": "other"}, "has the $ref 'other', which does not resolve"),
        ({"$id": "http://x", "not": {"$id": "http://["}}, "has the $id 'http://[', which is not a URI"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "uses draft 3"),
        ({"$schema": {"a": 1}}, "is not a JSON Schema: its $schema"),
    ],
)
def test_unusable_schema_is_itself_reported(schema: object, says: str) -> None:
    errors = [verdict(schema, value) for value in (None, 1, "b", {"a": {"b": 1}})]

    assert {type(error) for error in errors} == {SchemaFaultError}
    assert {error.argument for error in errors if error} == {None}
    assert all(says in str(error) for error in errors)


@pytest.mark.parametrize("broken", [{"$ref": "#/nowhere"}, {"pattern": "(?=a)b"}])
def test_schema_error_is_found_anywhere_before_validation(broken: object) -> None:
    schemas: list[object] = [
        {"properties": {"never": broken}},
        {"items": {"prefixItems": [{"oneOf": [{"if": broken}]}]}},
        {"$schema": DRAFT_7, "dependencies": {"a": broken, "b": ["c"]}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [True, {"$ref": "#/x/0"}]}}, "x": [{"not": broken}]},
        {"const": 1, "$defs": {"a": broken}},
    ]

    assert {type(verdict(schema, None)) for schema in schemas} == {SchemaFaultError}


@pytest.mark.parametrize("keyword", ["const", "default"])
def test_lookalike_of_a_subschema_is_ignored(keyword: str) -> None:
    value = {"pattern": "(?=a)b", "$ref": "#/nowhere", "patternProperties": {"(": 1}}

    assert verdict({keyword: value, "properties": {"pattern": {}, "$ref": {"type": "string"}}}, value) is None


def test_schema_error_found_during_validation_blames_the_schema() -> None:
    # After a list of names in `dependencies`, `referencing` takes the following schemas for lists of names, too.
    inner = {"properties": {"d": {"pattern": "("}, "e": {"$ref": "#/nowhere"}}}
    schema = {"$schema": DRAFT_7, "dependencies": {"a": ["b"], "c": inner}}

    errors = [verdict(schema, value) for value in ({"c": 1}, {"a": 1}, {"c": 1, "d": "x"}, {"c": 1, "e": "x"})]

    assert [type(error) for error in errors] == [type(None), BadInputError, SchemaFaultError, SchemaFaultError]
    assert "has a $ref that does not resolve inside the schema ('/nowhere')" in str(errors[3])


def test_value_too_deep_for_its_schema_is_a_schema_error() -> None:
    value: list[object] = []
    for _ in range(1000):
        value = [value]

    error = verdict({"items": {"$ref": "#"}}, value)

    assert (type(error), str(error)) == (BadInputError, "nests too deeply to be checked by its schema; flatten it")
    assert verdict({"items": {"$ref": "#"}}, [[[[[1]]]]]) is None


def test_text_too_long_for_a_pattern_is_a_schema_error() -> None:
    error = verdict({"pattern": "(a{0,100}b{0,100}){0,9}"}, "ab" * 100_000)

    assert type(error) is BadInputError
    assert "a text of 200,000 characters is too long for the pattern '(a{0,100}b{0,100}){0,9}'" in str(error)


def test_first_of_many_forbidden_properties_is_reported() -> None:
    names = [f"n{number * 7919 % 1000}" for number in range(40)]

    for allowed in (False, {"type": "string"}):
        error = verdict({"additionalProperties": allowed, "properties": {names[0]: {}}}, dict.fromkeys(names, 1))
        assert error is not None
        assert error.argument == names[1]


@pytest.mark.parametrize(
    ("schema", "value", "argument", "says"),
    [
        ({"properties": {"a": {"items": False}}}, {"a": [1]}, "a", "Expected at most 0 items"),
        ({"properties": {"a": False}}, {"a": 1}, "a", "no value is allowed here"),
        ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, 1, None, "matches no schema of anyOf"),
        ({"oneOf": [{"type": "string"}, False]}, 1, None, "matches no schema of oneOf"),
        ({"oneOf": [{"type": "integer"}, False, True]}, 1, None, "matches more than one schema of oneOf"),
    ],
)
def test_value_that_no_alternative_allows_is_reported_with_its_path(
    schema: object, value: object, argument: str | None, says: str
) -> None:
    error = verdict(schema, value)

    assert error is not None
    assert error.argument == argument
    assert says in error.message


@pytest.mark.parametrize(
    ("value", "unit", "passes"),
    [
        (0.3, 0.1, True),
        (0.7, 0.1, True),
        (19.99, 0.01, True),
        (1.1, 0.1, True),
        (4, 0.1, True),
        (1e-7, 1e-8, True),
        (0.35, 0.1, False),
        (0.30000000000000004, 0.1, False),
        (19.995, 0.01, False),
        (10**300 + 1, 0.5, True),
        (10**300 + 1, 2, False),
        (10**300 + 1, 2.0, False),
        (1e308, 1e-300, True),
        (1e308, 3, False),
        (0, 0.1, True),
        (-0.3, 0.1, True),
        (True, 0.3, True),
        ("0.35", 0.1, True),
    ],
)
def test_multiple_of_uses_decimal_notation(value: object, unit: float, *, passes: bool) -> None:
    assert (verdict({"multipleOf": unit}, value) is None) == passes


def test_form_check_ignores_patterns_and_references() -> None:
    with bounded_time():
        check_schema({"pattern": "(?=a)b", "$ref": "#/nowhere"})
        with pytest.raises(SchemaFaultError, match="is not a JSON Schema at type: 'x' matches no schema"):
            check_schema({"type": "x"})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$id": "http://127.0.0.1:9/base.json", "properties": {"a": {"$ref": "other.json"}}},
        {"$schema": "http://127.0.0.1:9/meta.json", "$ref": "meta.json#/x"},
    ],
)
def test_remote_references_are_not_fetched(schema: object, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[object] = []
    monkeypatch.setattr(urllib.request, "urlopen", fetched.append)

    assert "does not resolve inside the schema" in str(verdict(schema, {"a": 1}))
    assert fetched == []
