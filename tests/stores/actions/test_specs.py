"""Tests of action refs: which objects a ref may lead to."""

from collections.abc import Callable
from typing import Any

import pytest

from stores.actions import ActionsStore
from stores.calls import CallsStore
from stores.errors import BadInputError, NotFoundError, ObjectDeletedError
from stores.feedback import FeedbackStore
from stores.objects import ObjectsStore
from tests.stores.actions.specs import action, judging, looking_for
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.feedback.stored import everything
from tests.stores.objects.builders import version

DIGEST = "JbJAWO5ilZcz1t5EyUvPKov45EizaNkKb3oecE9MndU"
MARKS = {"_type": "ActionSpec", "_class_name": "ActionSpec", "_bases": ["BaseObject", "BaseModel"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: "checker", "'checker' is not a ref"),
        (lambda _: "", "'' is not a ref"),
        (
            lambda ref: ref.replace("weave:///", "weave-trace-internal:///"),
            "is reserved for internal refs; write refs with weave:///",
        ),
        (lambda ref: ref.replace("/object/", "/op/"), "must be the ref of one version of an object"),
        (lambda ref: f"{ref}/key/config", "must be the ref of one version of an object"),
        (lambda ref: f"{ref.rpartition(':')[0]}:latest", "must be the ref of one version of an object"),
        (lambda ref: f"{ref.rpartition(':')[0]}:v0", "must be the ref of one version of an object"),
        (lambda _: f"weave:///{PROJECT}/call/{call_id(1)}", "must be the ref of one version of an object"),
        (lambda _: f"weave:///{PROJECT}/table/abc", "must be the ref of one version of an object"),
        (lambda ref: ref.replace(PROJECT, "acme/other"), "leads into the project acme/other"),
        (lambda _: "wandb-artifact:///acme/chat/abc", "is not a ref"),
    ],
)
async def test_ref_of_another_kind_is_refused(
    actions: ActionsStore, objects: ObjectsStore, change: Callable[[str], str], message: str
) -> None:
    ref = await action(objects, looking_for("weft"))

    with pytest.raises(BadInputError, match=message) as raised:
        await actions.execute(PROJECT, change(ref), [])

    assert raised.value.argument == "action_ref"


async def test_missing_or_deleted_action_is_reported(actions: ActionsStore, objects: ObjectsStore) -> None:
    ref = await action(objects, looking_for("weft"))
    await action(objects, looking_for("warp"))

    for unknown in (f"weave:///{PROJECT}/object/checker:{DIGEST}", f"weave:///{PROJECT}/object/other:{DIGEST}"):
        with pytest.raises(NotFoundError, match="not found") as missing:
            await actions.execute(PROJECT, unknown, [call_id(1)])
        assert missing.value.argument == "action_ref"

    await objects.delete(PROJECT, "checker", [ref.rpartition(":")[2]])
    with pytest.raises(ObjectDeletedError, match="checker:v0 was deleted at") as deleted:
        await actions.execute(PROJECT, ref, [call_id(1)])
    assert deleted.value.argument == "action_ref"
    assert deleted.value.deleted_at


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ("text", "leads to an object that is not an ActionSpec; create it with that builtinObjectClass"),
        ({"name": "checker", "config": looking_for("a")}, "leads to an object that is not an ActionSpec"),
        ({**MARKS, "_class_name": "Scorer"}, "leads to an object that is not an ActionSpec"),
        (MARKS, "at name: an action needs a name"),
        ({**MARKS, "name": "checker"}, "at config: Input should be"),
        ({**MARKS, "name": "checker", "config": "x"}, "at config: "),
        ({**MARKS, "name": None, "config": looking_for("a")}, "at name: an action needs a name"),
        ({**MARKS, "name": "checker", "config": {"action_type": "explode"}}, "at config: Input tag 'explode'"),
        (
            {**MARKS, "name": "checker", "config": {"action_type": "contains_words", "target_words": "weft"}},
            "at config.contains_words.target_words: Input should be a valid list",
        ),
        ({**MARKS, "name": "checker", "config": judging(model="gpt-17")}, "at config.llm_judge.model: Input should be"),
        (
            {**MARKS, "name": "checker", "config": judging(response_schema={"type": "strange"})},
            "at config.llm_judge.response_schema: it is not a JSON Schema",
        ),
        (
            {**MARKS, "name": "checker", "config": judging(response_schema={"pattern": "(?=a)", "type": "string"})},
            "leads to a spec whose response_schema ",
        ),
        ({**MARKS, "name": "checker" * 40_000, "config": looking_for("a")}, "the limit for specs is 262,144"),
    ],
)
async def test_object_of_another_class_is_refused(
    actions: ActionsStore,
    objects: ObjectsStore,
    val: Any,
    message: str,
) -> None:
    ref = f"weave:///{PROJECT}/object/checker:{await objects.create(version(val, object_id='checker'))}"

    with pytest.raises(BadInputError) as raised:
        await actions.execute(PROJECT, ref, [call_id(1)])

    assert message in raised.value.message
    assert raised.value.argument == "action_ref"


async def test_action_published_by_the_weave_client_is_accepted(
    actions: ActionsStore, calls: CallsStore, objects: ObjectsStore, feedback: FeedbackStore
) -> None:
    await calls.write([start(), end(output="weft")])
    config = {"_type": "ContainsWordsActionConfig", **looking_for("weft"), "_class_name": "ContainsWordsActionConfig"}
    val = {**MARKS, "name": "any name", "description": None, "ref": None, "config": config}
    ref = f"weave:///{PROJECT}/object/checker:{await objects.create(version(val, object_id='checker'))}"

    done = await actions.execute(PROJECT, ref, [call_id(1)])

    assert done.results[0]["json"] == {"output": "true"}
    assert [row["feedback_type"] for row in await everything(feedback)] == ["wandb.runnable.checker"]
