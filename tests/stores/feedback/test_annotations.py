"""Tests that annotations must match the JSON Schema of their spec."""

import threading
from functools import partial
from typing import Any

import pytest

from stores import json_schema
from stores.database import Database
from stores.errors import BadInputError, NotFoundError, StoreError
from stores.feedback import FeedbackStore, inputs
from stores.objects import ObjectsStore, ObjectVersion
from tests.commands import Commands
from tests.stores.calls.builders import PROJECT
from tests.stores.feedback.builders import annotation, note, spec
from tests.stores.json_schema.verdicts import DOUBLING

SCORE = {"type": "object", "properties": {"score": {"type": "integer", "maximum": 5}}, "required": ["score"]}

MARKS = {"_class_name": "AnnotationSpec", "_bases": ["BaseObject", "BaseModel"]}


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the checks of a schema take half a second, not two, because some tests exceed the limit."""
    short = partial(json_schema.bounded_time, 0.5)
    for module in (json_schema, inputs):
        monkeypatch.setattr(module, "bounded_time", short)


async def refusal(store: FeedbackStore, ref: str, value: object) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await store.create_one(annotation(ref, value))
    return caught.value


async def test_value_that_matches_its_spec_is_stored(store: FeedbackStore, objects: ObjectsStore) -> None:
    ref = await spec(objects, SCORE)

    row = await store.create_one(annotation(ref, {"score": 5}))

    assert row["json"] == {"payload": '{"value":{"score":5}}'}
    assert row["annotation_ref"] == ref


async def test_value_that_violates_its_spec_is_refused_with_the_path(
    store: FeedbackStore, objects: ObjectsStore, database: Database
) -> None:
    ref = await spec(objects, SCORE)

    error = await refusal(store, ref, {"score": 6})
    whole = await refusal(store, ref, {})

    assert (type(error), error.argument) == (BadInputError, "payload.$.value.score")
    assert error.message == "does not match its schema: 6 is greater than the maximum of 5"
    assert whole.argument == "payload.$.value"
    assert await database.feedback.count_documents({}) == 0


@pytest.mark.parametrize("value", [None, 0, "", [], {}])
async def test_spec_without_a_schema_accepts_any_value(
    store: FeedbackStore, objects: ObjectsStore, value: object
) -> None:
    assert await store.create_one(annotation(await spec(objects, {}), value))


async def test_missing_spec_is_refused(store: FeedbackStore, objects: ObjectsStore) -> None:
    ref = await spec(objects, SCORE)
    other = await spec(objects, SCORE, "grade")
    elsewhere = await spec(objects, SCORE, project_id="acme/other")
    missing = await refusal(store, ref[:-1] + "_", 1)
    await objects.delete(PROJECT, "score")
    deleted = await refusal(store, ref, 1)

    assert [(type(error), error.argument) for error in (missing, deleted)] == [(NotFoundError, "annotation_ref")] * 2
    assert "is not in the project acme/chat" in missing.message
    assert "is deleted" in deleted.message
    assert "leads to 'grade'" in (await refusal(store, other, 1)).message
    assert "leads into the project acme/other" in (await refusal(store, elsewhere, 1)).message


@pytest.mark.parametrize(
    ("val", "says"),
    [
        ({"field_schema": {}}, "is not an AnnotationSpec"),
        ("text", "is not an AnnotationSpec"),
        ({"_class_name": "Prompt", "_bases": ["BaseObject", "BaseModel"]}, "is not an AnnotationSpec"),
        (
            {"_class_name": "AnnotationSpec", "_bases": ["BaseObject", "BaseModel"], "field_schema": {"type": "x"}},
            "leads to a spec whose field_schema is not a JSON Schema at type",
        ),
        (
            {"_class_name": "AnnotationSpec", "_bases": ["BaseObject", "BaseModel"], "field_schema": "x"},
            "leads to a spec whose field_schema is not a JSON Schema: it must be an object",
        ),
        (
            {"_class_name": "AnnotationSpec", "_bases": ["BaseObject", "BaseModel"], "name": "x" * 300_000},
            "the limit for specs is 262,144",
        ),
    ],
)
async def test_non_spec_object_is_refused(store: FeedbackStore, objects: ObjectsStore, val: object, says: str) -> None:
    digest = await objects.create(ObjectVersion(PROJECT, "score", val))

    error = await refusal(store, f"weave:///{PROJECT}/object/score:{digest}", 1)

    assert (type(error), error.argument) == (BadInputError, "annotation_ref")
    assert says in error.message


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (DOUBLING, "takes more than 2 seconds to check; simplify the schema, or send less per request"),
        ({"properties": {"a": DOUBLING["$defs"]["a0"]}, **DOUBLING}, "takes more than 2 seconds"),
        ({"pattern": "(?=a)"}, "has the pattern '(?=a)', which RE2 does not support"),
        (
            {"properties": {"a": {"$ref": "#/nowhere"}}},
            "has the $ref '#/nowhere', which does not resolve inside the schema",
        ),
        (
            {"patternProperties": {f"(.{{1,20}}){{1,20}}{number}": {} for number in range(20)}},
            "has patterns of more than 50,000 states",
        ),
    ],
    ids=["doubling", "property", "pattern", "ref", "patterns"],
)
async def test_invalid_spec_is_refused_on_creation_and_in_annotations(
    store: FeedbackStore, objects: ObjectsStore, schema: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadInputError) as made:
        await spec(objects, schema)
    # An object that names its own classes is stored unchecked.
    digest = await objects.create(ObjectVersion(PROJECT, "score", MARKS | {"field_schema": schema}))
    error = await refusal(store, f"weave:///{PROJECT}/object/score:{digest}", {"b": 1})

    assert (made.value.argument, error.argument) == ("val.$.field_schema", "annotation_ref")
    assert f"is not a valid AnnotationSpec: it {says}" in made.value.message
    assert f"leads to a spec whose field_schema {says}" in error.message


@pytest.mark.usefixtures("short_limit")
async def test_spec_too_slow_for_a_value_is_reported_with_that_value(
    store: FeedbackStore, objects: ObjectsStore
) -> None:
    ref = await spec(objects, {"properties": {"a": {"$ref": "#/$defs/a0"}}, "$defs": DOUBLING["$defs"]})

    assert await store.create_one(annotation(ref, {"b": 1}))
    with pytest.raises(BadInputError) as caught:
        await store.create([note(), annotation(ref, {"a": 1})])

    assert caught.value.argument == "batch.1.annotation_ref"
    assert "takes more than 2 seconds to check" in caught.value.message


async def test_schema_is_checked_in_a_thread(objects: ObjectsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    read = json_schema.JsonSchema

    def seen(schema: object) -> json_schema.JsonSchema:
        threads.add(threading.get_ident())
        return read(schema)

    monkeypatch.setattr(json_schema, "JsonSchema", seen)
    await spec(objects, SCORE)

    assert threads
    assert threading.get_ident() not in threads


async def test_batch_reads_all_specs_at_once_and_names_the_invalid_item(
    store: FeedbackStore, objects: ObjectsStore, commands: Commands
) -> None:
    refs = [await spec(objects, {"maximum": number}) for number in range(20)]
    batch = [annotation(refs[number % 20], number % 20) for number in range(100)]
    commands.sent.clear()

    await store.create(batch)
    sent = commands.names
    with pytest.raises(BadInputError) as caught:
        await store.create([note(), annotation(refs[0], 0), annotation(refs[0], 1)])

    assert sent == ["find", "insert", "commitTransaction"]
    assert caught.value.argument == "batch.2.payload.$.value"
    assert (await store.count(PROJECT)) == 100
