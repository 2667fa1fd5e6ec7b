"""Tests that values of built-in classes are checked and completed, and other values keep their class names."""

from typing import Any

import pytest

from stores.errors import BadInputError
from stores.objects import ObjectsStore, classes
from stores.objects.classes import Classes, classes_of, kind_of
from tests.stores.calls.builders import PROJECT
from tests.stores.objects.builders import version

JUDGE = {"action_type": "llm_judge", "model": "gpt-4o", "prompt": "Is it good?", "response_schema": {"type": "boolean"}}


def completed(val: object, name: str) -> Any:
    return classes.completed(val, name, "builtin_object_class")


def marks(name: str, *bases: str) -> dict[str, object]:
    return {"_type": name, "_class_name": name, "_bases": [*bases, "BaseModel"]}


def test_example_is_completed_exactly_in_order() -> None:
    val = {"nested_base_object": "r", "primitive": 1, "nested_base_model": {"aliased_property_alias": 3, "a": 2}}

    found = completed(val, "TestOnlyExample")

    assert found == {
        "_type": "TestOnlyExample",
        "name": None,
        "description": None,
        "primitive": 1,
        "nested_base_model": {
            "_type": "TestOnlyNestedBaseModel",
            "a": 2,
            "aliased_property_alias": 3,
            "_class_name": "TestOnlyNestedBaseModel",
            "_bases": ["BaseModel"],
        },
        "nested_base_object": "r",
        "_class_name": "TestOnlyExample",
        "_bases": ["BaseObject", "BaseModel"],
    }
    assert list(found) == [
        *("_type", "name", "description", "primitive", "nested_base_model", "nested_base_object"),
        *("_class_name", "_bases"),
    ]


@pytest.mark.parametrize(
    ("name", "val", "filled"),
    [
        ("AnnotationSpec", {"field_schema": {"type": "integer", "minimum": 0}}, {"unique_among_creators": False}),
        ("Provider", {"base_url": "http://x", "api_key_name": "K"}, {"extra_headers": {}, "return_type": "openai"}),
        ("ProviderModel", {"provider": "abc", "max_tokens": 5}, {"name": None}),
        ("TestOnlyInheritedBaseObject", {"b": 1, "c": 2}, {"additional_field": "default_value"}),
    ],
)
def test_default_values_are_filled_in(name: str, val: dict[str, object], filled: dict[str, object]) -> None:
    found = completed(val, name)

    assert found | val | filled == found


def test_nested_objects_get_class_names() -> None:
    column = {"evaluation_object_ref": "r", "scorer_name": "s", "summary_metric_path": "p"}
    view = {
        "view_type": "traces",
        "label": "Slow ones",
        "definition": {"filter": {"op_names": ["f"]}, "query": {"$expr": {"$not": [{"$literal": 1}]}}, "page": 2},
    }
    messages = [{"role": "user", "content": [{"type": "text"}]}]
    model = {"llm_model_id": "openai/x", "default_params": {"messages_template": messages}}

    board = completed({"columns": [column]}, "Leaderboard")
    action = completed({"name": "judge", "config": JUDGE}, "ActionSpec")
    definition = completed(view, "SavedView")["definition"]
    llm = completed(model, "LLMStructuredCompletionModel")

    assert board["columns"] == [column | {"should_minimize": None} | marks("LeaderboardColumn")]
    assert action["config"] == JUDGE | marks("LlmJudgeActionConfig")
    assert definition["filter"]["op_names"] == ["f"]
    assert definition["filter"]["_bases"] == ["BaseModelStrict", "BaseModel"]
    assert definition["query"]["$expr"] == {"$not": [{"$literal": 1}]}
    assert llm["_bases"] == ["Model", "Object", "BaseModel"]
    assert list(llm)[:5] == ["_type", "name", "description", "ref", "llm_model_id"]
    assert llm["ref"] is None
    assert completed(model | {"ref": None}, "LLMStructuredCompletionModel") == llm
    assert llm["default_params"]["messages_template"][0]["content"] == [{"type": "text"}]


@pytest.mark.parametrize(
    ("name", "val", "argument", "message"),
    [
        ("AnnotationSpec", {"field_schema": {"type": "nope"}}, "val.$.field_schema", "not a JSON Schema at type"),
        ("AnnotationSpec", {"field_schema": {"$schema": 5}}, "val.$.field_schema", "the URI of a draft"),
        ("AnnotationSpec", {"field_schema": 5}, "val.$.field_schema", "valid dictionary"),
        ("AnnotationSpec", {"op_scope": ["a", 5]}, "val.$.op_scope.1", "valid string"),
        ("AnnotationSpec", {"fieldschema": {}}, "val.$.fieldschema", "not permitted"),
        ("ActionSpec", {"config": JUDGE}, "val.$.name", "ActionSpec: an action needs a name"),
        ("ActionSpec", {"name": "a", "config": JUDGE | {"model": "x"}}, "val.$.config.model", "'gpt-4o'"),
        ("ActionSpec", {"name": "a", "config": {"action_type": "x"}}, "val.$.config", "action_type"),
        ("Provider", {"base_url": "x"}, "val.$.api_key_name", "required"),
        ("Leaderboard", {"columns": [{}]}, "val.$.columns.0.evaluation_object_ref", "required; also columns.0"),
        (
            "SavedView",
            {"view_type": "t", "label": "l", "definition": {"query": {}}},
            "val.$.definition.query.$expr",
            "required",
        ),
        ("LLMStructuredCompletionModel", {"llm_model_id": "x", "default_params": {"n_times": "y"}}, None, "integer"),
        ("LLMStructuredCompletionModel", {"llm_model_id": "x", "ref": "weave:///a/b/object/c:d"}, "val.$.ref", "None"),
        *(
            (
                "LLMStructuredCompletionModel",
                {"llm_model_id": "x", "default_params": {"temperature": number}},
                "val.$.default_params.temperature",
                "finite number",
            )
            for number in ("nan", "inf", "-Infinity", "1e999")
        ),
        ("Provider", [1], "val", "must be a JSON object"),
        ("Unheard", {}, "builtin_object_class", "not a builtin class; use one of ActionSpec, AnnotationSpec"),
        ("Provider", marks("Model", "Object"), "builtin_object_class", "not the class in the value, Model"),
    ],
)
def test_invalid_field_of_a_class_is_named(name: str, val: object, argument: str | None, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refused:
        completed(val, name)

    assert refused.value.argument == (argument or "val.$.default_params.n_times")


def test_first_errors_are_listed_and_the_rest_counted() -> None:
    val = {"base_url": "x", "api_key_name": "k"} | {f"{n:03}" + "x" * 1_000: n for n in range(300)}

    with pytest.raises(BadInputError) as refused:
        completed(val, "Provider")

    message = refused.value.message
    assert (message.count("not permitted"), message.endswith("not permitted and 294 more")) == (6, True)
    assert (len(message) < 2_000, len(refused.value.argument or "")) == (True, 206)


def test_value_too_deep_for_its_class_is_refused() -> None:
    schema: dict[str, object] = {}
    for _ in range(900):
        schema = {"not": schema}

    with pytest.raises(BadInputError):
        completed({"field_schema": schema}, "AnnotationSpec")


def test_value_with_class_names_is_unchanged() -> None:
    val = marks("Model", "Object") | {"anything": 1}

    assert completed(val, "Model") is val


@pytest.mark.parametrize(
    ("bases", "classes"),
    [
        (["Model", "Object", "BaseModel"], Classes("Model", "M")),
        (["Object", "BaseModel"], Classes("M", "M")),
        (["BaseObject", "BaseModel"], Classes("M", "M")),
        (["A", "Model", "Object", "BaseModel"], Classes("Model", "M")),
        (["BaseModel"], None),
        (["Object"], None),
        (["Model", "BaseModel"], None),
        ([5, "Object", "BaseModel"], None),
        ("Object", None),
        (None, None),
    ],
)
def test_class_names_follow_from_base_classes(bases: object, classes: Classes | None) -> None:
    assert classes_of({"_class_name": "M", "_bases": bases}) == classes


@pytest.mark.parametrize(
    ("val", "kind"),
    [
        ({"_type": "Op"}, "op"),
        ({"_type": "CustomWeaveType", "weave_type": {"type": "Op"}}, "op"),
        ({"_type": "Op", "weave_type": {"type": "Image"}}, "object"),
        ({"_type": "Op", "weave_type": "Op"}, "op"),
        ({"weave_type": {"type": "Op"}}, "object"),
        (["Op"], "object"),
        (None, "object"),
    ],
)
def test_object_kind_follows_from_the_type(val: object, kind: str) -> None:
    assert kind_of(val) == kind


async def test_built_in_object_is_stored_with_defaults_and_class_names(objects: ObjectsStore) -> None:
    by_name = version({"b": 1, "c": 2}, set_base_object_class="TestOnlyInheritedBaseObject")
    digest = await objects.create(by_name)

    row = await objects.one(PROJECT, "prompt", digest, {"base_object_class", "leaf_object_class", "val"})

    assert (row["base_object_class"], row["leaf_object_class"]) == (
        "TestOnlyNestedBaseObject",
        "TestOnlyInheritedBaseObject",
    )
    assert '"additional_field":"default_value"' in row["json"]["val"]


async def test_conflicting_class_names_are_refused(objects: ObjectsStore) -> None:
    with pytest.raises(BadInputError, match="differs from builtinObjectClass") as refused:
        await objects.create(version({}, builtin_object_class="Provider", set_base_object_class="SavedView"))

    assert refused.value.argument == "set_base_object_class"
